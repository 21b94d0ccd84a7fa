// The scalar types that BLAS knows, and the calls that the library makes of it. Everything above is written once for both.

import CKernels
import COpenBLAS
import Glibc

/// A floating-point type with BLAS behind it. Matrices are row-major with a leading dimension in elements.
protocol BLASScalar: BinaryFloatingPoint, BitwiseCopyable, SIMDScalar, Codable {
  static var precision: Precision { get }
  /// C (m x n) = op(A) op(B) + beta C, op(A): m x k, op(B): k x n.
  static func multiply(
    _ m: Int, _ n: Int, _ k: Int,
    _ a: UnsafePointer<Self>, _ lda: Int, transposeA: Bool,
    _ b: UnsafePointer<Self>, _ ldb: Int, transposeB: Bool,
    beta: Self, _ c: UnsafeMutablePointer<Self>, _ ldc: Int)
  /// The same by a kernel that is made for dense layers.
  static func multiply(_ product: LayerProduct<Self>)
  /// The passes over a rectified hidden layer under one output, on arrays of this type.
  static func addRectifiedOutputs(_ pass: inout rectified_outputs)
  static func addRectifiedGradient(_ pass: inout rectified_gradient)
  static func addCurvatureBlock(_ pass: inout curvature_block)
  /// y += column sums of the contiguous rows x columns matrix x.
  static func addColumnSums(
    _ rows: Int, _ columns: Int, _ x: UnsafePointer<Self>, to y: UnsafeMutablePointer<Self>)
  static func areFinite(_ count: Int, _ x: UnsafePointer<Self>) -> Bool
  static func dot(_ count: Int, _ x: UnsafePointer<Self>, _ y: UnsafePointer<Self>) -> Self
  /// y += alpha x
  static func axpy(_ count: Int, _ alpha: Self, _ x: UnsafePointer<Self>, _ y: UnsafeMutablePointer<Self>)
  static func scale(_ count: Int, _ alpha: Self, _ x: UnsafeMutablePointer<Self>)
  static func exponential(_ x: Self) -> Self
  static func exponentialMinusOne(_ x: Self) -> Self
  static func logarithmOnePlus(_ x: Self) -> Self
  static func hyperbolicTangent(_ x: Self) -> Self
  static func complementaryErrorFunction(_ x: Self) -> Self
}

private func flag(_ transpose: Bool) -> CBLAS_TRANSPOSE { transpose ? CblasTrans : CblasNoTrans }

/// Calls body with the start and the length of pieces that BLAS can count: one, but for very long vectors.
@inline(__always)
private func forEachPiece(_ count: Int, _ body: (Int, Int32) -> Void) {
  let longest = 1 << 30
  if count <= longest { return body(0, Int32(truncatingIfNeeded: count)) }
  for start in stride(from: 0, to: count, by: longest) {
    body(start, Int32(truncatingIfNeeded: min(longest, count - start)))
  }
}

@inline(__always)
private func reduceInPieces<Scalar: BinaryFloatingPoint>(_ count: Int, _ body: (Int, Int32) -> Scalar) -> Scalar {
  var sum: Scalar = 0
  forEachPiece(count) { sum += body($0, $1) }
  return sum
}

extension Double: BLASScalar {
  @inline(__always)
  static var precision: Precision { .float64 }
  @inline(__always)
  static func multiply(
    _ m: Int, _ n: Int, _ k: Int,
    _ a: UnsafePointer<Double>, _ lda: Int, transposeA: Bool,
    _ b: UnsafePointer<Double>, _ ldb: Int, transposeB: Bool,
    beta: Double, _ c: UnsafeMutablePointer<Double>, _ ldc: Int
  ) {
    cblas_dgemm(
      CblasRowMajor, flag(transposeA), flag(transposeB), Int32(m), Int32(n), Int32(k), 1, a, Int32(lda), b, Int32(ldb),
      beta, c, Int32(ldc))
  }
  @inline(__always)
  static func multiply(_ product: LayerProduct<Double>) { product.compute(machineKernels) }
  static func addRectifiedOutputs(_ pass: inout rectified_outputs) { machineKernels.add_rectified_outputs_f64(&pass) }
  static func addRectifiedGradient(_ pass: inout rectified_gradient) {
    machineKernels.add_rectified_gradient_f64(&pass)
  }
  static func addCurvatureBlock(_ pass: inout curvature_block) { machineKernels.add_curvature_block_f64(&pass) }
  static func addColumnSums(
    _ rows: Int, _ columns: Int, _ x: UnsafePointer<Double>, to y: UnsafeMutablePointer<Double>
  ) {
    machineKernels.add_column_sums_f64(Int64(rows), Int64(columns), x, y)
  }
  static func areFinite(_ count: Int, _ x: UnsafePointer<Double>) -> Bool {
    machineKernels.are_finite_f64(Int64(count), x) != 0
  }
  static func dot(_ count: Int, _ x: UnsafePointer<Double>, _ y: UnsafePointer<Double>) -> Double {
    reduceInPieces(count) { cblas_ddot($1, x + $0, 1, y + $0, 1) }
  }
  static func axpy(_ count: Int, _ alpha: Double, _ x: UnsafePointer<Double>, _ y: UnsafeMutablePointer<Double>) {
    forEachPiece(count) { cblas_daxpy($1, alpha, x + $0, 1, y + $0, 1) }
  }
  static func scale(_ count: Int, _ alpha: Double, _ x: UnsafeMutablePointer<Double>) {
    forEachPiece(count) { cblas_dscal($1, alpha, x + $0, 1) }
  }
  /// Of the element with the largest magnitude; 0 where there is none.
  static func indexOfLargest(_ count: Int, _ x: UnsafePointer<Double>) -> Int {
    var largest = 0
    forEachPiece(count) { start, length in
      let index = start + Int(cblas_idamax(length, x + start, 1))
      if start == 0 || abs(x[index]) > abs(x[largest]) { largest = index }
    }
    return largest
  }
  static func exponential(_ x: Double) -> Double { Glibc.exp(x) }
  static func exponentialMinusOne(_ x: Double) -> Double { Glibc.expm1(x) }
  static func logarithmOnePlus(_ x: Double) -> Double { Glibc.log1p(x) }
  static func hyperbolicTangent(_ x: Double) -> Double { Glibc.tanh(x) }
  static func complementaryErrorFunction(_ x: Double) -> Double { Glibc.erfc(x) }
}

extension Float: BLASScalar {
  @inline(__always)
  static var precision: Precision { .float32 }
  @inline(__always)
  static func multiply(
    _ m: Int, _ n: Int, _ k: Int,
    _ a: UnsafePointer<Float>, _ lda: Int, transposeA: Bool,
    _ b: UnsafePointer<Float>, _ ldb: Int, transposeB: Bool,
    beta: Float, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
  ) {
    cblas_sgemm(
      CblasRowMajor, flag(transposeA), flag(transposeB), Int32(m), Int32(n), Int32(k), 1, a, Int32(lda), b, Int32(ldb),
      beta, c, Int32(ldc))
  }
  @inline(__always)
  static func multiply(_ product: LayerProduct<Float>) { product.compute(machineKernels) }
  static func addRectifiedOutputs(_ pass: inout rectified_outputs) { machineKernels.add_rectified_outputs_f32(&pass) }
  static func addRectifiedGradient(_ pass: inout rectified_gradient) {
    machineKernels.add_rectified_gradient_f32(&pass)
  }
  static func addCurvatureBlock(_ pass: inout curvature_block) { machineKernels.add_curvature_block_f32(&pass) }
  static func addColumnSums(
    _ rows: Int, _ columns: Int, _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>
  ) {
    machineKernels.add_column_sums_f32(Int64(rows), Int64(columns), x, y)
  }
  static func areFinite(_ count: Int, _ x: UnsafePointer<Float>) -> Bool {
    machineKernels.are_finite_f32(Int64(count), x) != 0
  }
  static func dot(_ count: Int, _ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>) -> Float {
    reduceInPieces(count) { cblas_sdot($1, x + $0, 1, y + $0, 1) }
  }
  static func axpy(_ count: Int, _ alpha: Float, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>) {
    forEachPiece(count) { cblas_saxpy($1, alpha, x + $0, 1, y + $0, 1) }
  }
  static func scale(_ count: Int, _ alpha: Float, _ x: UnsafeMutablePointer<Float>) {
    forEachPiece(count) { cblas_sscal($1, alpha, x + $0, 1) }
  }
  static func exponential(_ x: Float) -> Float { Glibc.expf(x) }
  static func exponentialMinusOne(_ x: Float) -> Float { Glibc.expm1f(x) }
  static func logarithmOnePlus(_ x: Float) -> Float { Glibc.log1pf(x) }
  static func hyperbolicTangent(_ x: Float) -> Float { Glibc.tanhf(x) }
  static func complementaryErrorFunction(_ x: Float) -> Float { Glibc.erfcf(x) }
}

/// x *= y, element by element.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
func multiplyElements<Scalar: BLASScalar>(
  _ count: Int, _ x: UnsafeMutablePointer<Scalar>, by y: UnsafePointer<Scalar>
) {
  for index in 0..<count { x[index] *= y[index] }
}

/// x += y z, element by element.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
func addProductOfElements<Scalar: BLASScalar>(
  _ count: Int, _ x: UnsafeMutablePointer<Scalar>, _ y: UnsafePointer<Scalar>, _ z: UnsafePointer<Scalar>
) {
  for index in 0..<count { x[index] += y[index] * z[index] }
}

/// x = y z, element by element.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
func setProductOfElements<Scalar: BLASScalar>(
  _ count: Int, _ x: UnsafeMutablePointer<Scalar>, _ y: UnsafePointer<Scalar>, _ z: UnsafePointer<Scalar>
) {
  for index in 0..<count { x[index] = y[index] * z[index] }
}

/// x = y where the gate is positive, below y elsewhere; x may be y.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
func setGatedElements<Scalar: BLASScalar>(
  _ count: Int, _ x: UnsafeMutablePointer<Scalar>, _ y: UnsafePointer<Scalar>, _ gate: UnsafePointer<Scalar>,
  below: Scalar
) {
  for index in 0..<count { x[index] = y[index] * (gate[index] > 0 ? 1 : below) }
}

/// The dot product of short vectors, in eight fixed lanes: the same bits on every machine, without a call into BLAS.
@inline(__always)
func shortDot<Scalar: BLASScalar>(_ count: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafePointer<Scalar>) -> Scalar {
  var lanes = SIMD8<Scalar>(repeating: 0)
  let vectors = count / 8
  for block in 0..<vectors {
    let a = UnsafeRawPointer(x + 8 * block).loadUnaligned(as: SIMD8<Scalar>.self)
    let b = UnsafeRawPointer(y + 8 * block).loadUnaligned(as: SIMD8<Scalar>.self)
    lanes += a * b
  }
  var total = lanes.sum()
  for index in (8 * vectors)..<count { total += x[index] * y[index] }
  return total
}

/// y += alpha x for short vectors.
@inline(__always)
func shortAxpy<Scalar: BLASScalar>(
  _ count: Int, _ alpha: Scalar, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>
) {
  for index in 0..<count { y[index] += alpha * x[index] }
}

/// The dot product as a float64 sum: float32 products are added up in short runs, whose sums are added in float64.
@inline(__always)
func wideDot<Scalar: BLASScalar>(_ count: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafePointer<Scalar>) -> Double {
  if Scalar.self == Double.self { return Double(shortDot(count, x, y)) }
  var total = 0.0
  for start in stride(from: 0, to: count, by: 128) {
    total += Double(shortDot(min(128, count - start), x + start, y + start))
  }
  return total
}

/// base to the power of an exponent.
func power(_ base: Double, _ exponent: Double) -> Double { Glibc.pow(base, exponent) }
