// The matrix products of dense layers, with the biases, activations and slopes around them, by the kernels of this
// machine's instruction set (Sources/CKernels). On other matrices BLAS is called (BLASScalar.swift).

import CKernels

/// The kernels that were chosen for this machine: constants of C, which any thread may read.
nonisolated(unsafe) let machineKernels = kernels_best()!.pointee

/// What a product is added to.
enum ProductStart<Scalar: BLASScalar> {
  case zero
  /// What C holds.
  case present
  /// One vector in every row.
  case bias(UnsafePointer<Scalar>)
}

/// What happens to the sum. Arrays are laid out as C.
enum ProductEnd<Scalar: BLASScalar> {
  case none
  /// C <- C o factor.
  case scale(by: UnsafePointer<Scalar>)
  /// C <- C where that is positive, below C elsewhere.
  case rectify(below: Scalar)
  /// C <- C where the gate is positive, below C elsewhere.
  case gate(by: UnsafePointer<Scalar>, below: Scalar)
}

/// C (m x n, contiguous) = start + A B, or start + A B + A2 B2, then the end.
struct LayerProduct<Scalar: BLASScalar> {
  let m: Int
  let n: Int
  let k: Int
  /// m x k: element (i, l) is `a[i * aRow + l * aColumn]`.
  let a: UnsafePointer<Scalar>
  let aRow: Int
  let aColumn: Int
  /// k x n, or n x k where it is transposed.
  let b: UnsafePointer<Scalar>
  let bStride: Int
  let transposeB: Bool
  /// A2 and B2, laid out as A and B.
  var second: (a: UnsafePointer<Scalar>, b: UnsafePointer<Scalar>)?
  let c: UnsafeMutablePointer<Scalar>
  var start = ProductStart<Scalar>.zero
  var end = ProductEnd<Scalar>.none
}

extension LayerProduct<Double> {
  @inline(__always)
  func compute(_ kernels: kernel_table) {
    var product = product_f64()
    (product.m, product.n, product.k) = (Int64(m), Int64(n), Int64(k))
    (product.a, product.a_row, product.a_column) = (a, Int64(aRow), Int64(aColumn))
    (product.b, product.b_stride, product.b_transposed) = (b, Int64(bStride), transposeB ? 1 : 0)
    if let second { (product.a2, product.b2) = (second.a, second.b) }
    product.c = c
    switch start {
    case .zero: break
    case .present: product.accumulate = 1
    case .bias(let bias): product.bias = bias
    }
    switch end {
    case .none: break
    case .scale(let factor): product.factor = factor
    case .rectify(let below): (product.rectify, product.below) = (1, below)
    case .gate(let gate, let below): (product.gate, product.below) = (gate, below)
    }
    kernels.product_f64(&product)
  }
}

extension LayerProduct<Float> {
  @inline(__always)
  func compute(_ kernels: kernel_table) {
    var product = product_f32()
    (product.m, product.n, product.k) = (Int64(m), Int64(n), Int64(k))
    (product.a, product.a_row, product.a_column) = (a, Int64(aRow), Int64(aColumn))
    (product.b, product.b_stride, product.b_transposed) = (b, Int64(bStride), transposeB ? 1 : 0)
    if let second { (product.a2, product.b2) = (second.a, second.b) }
    product.c = c
    switch start {
    case .zero: break
    case .present: product.accumulate = 1
    case .bias(let bias): product.bias = bias
    }
    switch end {
    case .none: break
    case .scale(let factor): product.factor = factor
    case .rectify(let below): (product.rectify, product.below) = (1, below)
    case .gate(let gate, let below): (product.gate, product.below) = (gate, below)
    }
    kernels.product_f32(&product)
  }
}
