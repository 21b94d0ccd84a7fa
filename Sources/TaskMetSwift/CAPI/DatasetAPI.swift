// taskmet_dataset_*, taskmet_workspace_*.

import CTaskMet

/// x and y of a dataset.
private func requireData<Scalar: BLASScalar>(
  _ rows: Int64, _ features: Int, _ x: UnsafePointer<Scalar>?, _ xStride: Int64, _ targets: Int,
  _ y: UnsafePointer<Scalar>?, _ yStride: Int64, in precision: Precision = .float64
) throws -> (x: MatrixView, y: MatrixView) {
  let rows = try requireRowCount(rows)
  return (
    try requireMatrix(x, rows: rows, columns: features, stride: xStride, "x", in: precision),
    try requireMatrix(y, rows: rows, columns: targets, stride: yStride, "y", in: precision)
  )
}

private func requireWeights(_ weights: UnsafePointer<Double>?, _ count: Int64, _ rows: Int, _ countName: String) throws
  -> UnsafePointer<Double>
{
  let weights = try requireVector(weights, count, rows, "weights", countName)
  if let index = (0..<rows).first(where: { weights[$0] < 0 }) {
    throw TaskMetError.invalidArgument("weights[\(index)] must be >= 0, got \(weights[index])")
  }
  return weights
}

/// Of a borrowed dataset's arrays.
private struct DatasetOwner {
  let pointer: UnsafeMutableRawPointer?
  let release: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?
}

/// A dataset of the arrays' precision: with an owner of theirs, or (nil) of copies.
private func createDataset<Scalar: BLASScalar>(
  _ name: StaticString, _ rows: Int64, _ features: Int64, _ x: UnsafePointer<Scalar>?, _ xStride: Int64,
  _ targets: Int64, _ y: UnsafePointer<Scalar>?, _ yStride: Int64,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?, _ owner: DatasetOwner? = nil
) -> taskmet_status {
  call(name) {
    let out = try requirePointer(dataset, "dataset")
    let data = try requireData(
      rows, try requireWidth(features, "features"), x, xStride, try requireWidth(targets, "targets"), y, yStride)
    if let owner {
      let arrays = CallbackUser(owner.pointer, free: owner.release)
      out.pointee = try makeHandle(Dataset(borrowing: data.x, data.y, arrays), owning: arrays)
    } else {
      out.pointee = try makeHandle(try Dataset(copying: data.x, data.y))
    }
  }
}

@_cdecl("taskmet_dataset_create") @implementation
public func taskmet_dataset_create(
  _ rows: Int64, _ features: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64, _ targets: Int64,
  _ y: UnsafePointer<Double>!, _ y_stride: Int64, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  createDataset("dataset_create", rows, features, x, x_stride, targets, y, y_stride, dataset)
}

@_cdecl("taskmet_dataset_borrow") @implementation
public func taskmet_dataset_borrow(
  _ rows: Int64, _ features: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64, _ targets: Int64,
  _ y: UnsafePointer<Double>!, _ y_stride: Int64, _ release: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!,
  _ owner: UnsafeMutableRawPointer!, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  let owner = DatasetOwner(pointer: owner, release: release)
  return createDataset("dataset_borrow", rows, features, x, x_stride, targets, y, y_stride, dataset, owner)
}

@_cdecl("taskmet_dataset_create_f32") @implementation
public func taskmet_dataset_create_f32(
  _ rows: Int64, _ features: Int64, _ x: UnsafePointer<Float>!, _ x_stride: Int64, _ targets: Int64,
  _ y: UnsafePointer<Float>!, _ y_stride: Int64, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  createDataset("dataset_create_f32", rows, features, x, x_stride, targets, y, y_stride, dataset)
}

@_cdecl("taskmet_dataset_borrow_f32") @implementation
public func taskmet_dataset_borrow_f32(
  _ rows: Int64, _ features: Int64, _ x: UnsafePointer<Float>!, _ x_stride: Int64, _ targets: Int64,
  _ y: UnsafePointer<Float>!, _ y_stride: Int64, _ release: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!,
  _ owner: UnsafeMutableRawPointer!, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  let owner = DatasetOwner(pointer: owner, release: release)
  return createDataset("dataset_borrow_f32", rows, features, x, x_stride, targets, y, y_stride, dataset, owner)
}

/// A dataset of the rows that a function (nil: an error) writes.
private func createDataset(
  _ name: StaticString, _ rows: Int64, _ features: Int64, _ targets: Int64, _ read: CallbackRows.Function?,
  _ user: UnsafeMutableRawPointer?, _ freeUser: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> taskmet_status {
  call(name) {
    let out = try requirePointer(dataset, "dataset")
    let rows = try requireRowCount(rows)
    let (features, targets) = (try requireWidth(features, "features"), try requireWidth(targets, "targets"))
    guard let read else { throw TaskMetError.invalidArgument("read must not be NULL") }
    let owner = CallbackUser(user, free: freeUser)
    let source = CallbackRows(rows: rows, features: features, targets: targets, read, owner)
    out.pointee = try makeHandle(Dataset(source), owning: owner)
  }
}

@_cdecl("taskmet_dataset_create_from_callback") @implementation
public func taskmet_dataset_create_from_callback(
  _ rows: Int64, _ features: Int64, _ targets: Int64, _ read: taskmet_read_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  createDataset(
    "dataset_create_from_callback", rows, features, targets, read.map { .float64($0) }, user, free_user, dataset)
}

@_cdecl("taskmet_dataset_create_from_callback_f32") @implementation
public func taskmet_dataset_create_from_callback_f32(
  _ rows: Int64, _ features: Int64, _ targets: Int64, _ read: taskmet_read_f32_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  createDataset(
    "dataset_create_from_callback_f32", rows, features, targets, read.map { .float32($0) }, user, free_user, dataset)
}

@_cdecl("taskmet_dataset_create_from_files") @implementation
public func taskmet_dataset_create_from_files(
  _ x_path: UnsafePointer<CChar>!, _ y_path: UnsafePointer<CChar>!, _ dataset: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("dataset_create_from_files") {
    let out = try requirePointer(dataset, "dataset")
    let (xPath, yPath) = (try requirePath(x_path, "x_path"), try requirePath(y_path, "y_path"))
    let source = try FileRows(
      x: try NumPyFile(xPath, "x_path", vector: false), y: try NumPyFile(yPath, "y_path", vector: true))
    out.pointee = try makeHandle(Dataset(source))
  }
}

@_cdecl("taskmet_dataset_destroy") @implementation
public func taskmet_dataset_destroy(_ dataset: OpaquePointer!) { destroyHandle(dataset, as: Dataset.self) }

private func refillDataset<Scalar: BLASScalar>(
  _ name: StaticString, _ dataset: OpaquePointer?, _ rows: Int64, _ x: UnsafePointer<Scalar>?, _ xStride: Int64,
  _ y: UnsafePointer<Scalar>?, _ yStride: Int64, _ weights: UnsafePointer<Double>?, _ weightsCount: Int64
) -> taskmet_status {
  call(name) {
    let object: Dataset = try resolve(dataset, "dataset")
    let data = try requireData(
      rows, object.features, x, xStride, object.targets, y, yStride, in: object.precision)
    if weights == nil { try requireCount(weightsCount, 0, "weights_count") }
    let weights = try weights.map { try requireWeights($0, weightsCount, data.x.rows, "weights_count") }
    try withAccess(writing: [object]) { try object.refill(data.x, data.y, weights: weights) }
  }
}

@_cdecl("taskmet_dataset_refill") @implementation
public func taskmet_dataset_refill(
  _ dataset: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64, _ y: UnsafePointer<Double>!,
  _ y_stride: Int64, _ weights: UnsafePointer<Double>!, _ weights_count: Int64
) -> taskmet_status {
  refillDataset("dataset_refill", dataset, rows, x, x_stride, y, y_stride, weights, weights_count)
}

@_cdecl("taskmet_dataset_refill_f32") @implementation
public func taskmet_dataset_refill_f32(
  _ dataset: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Float>!, _ x_stride: Int64, _ y: UnsafePointer<Float>!,
  _ y_stride: Int64, _ weights: UnsafePointer<Double>!, _ weights_count: Int64
) -> taskmet_status {
  refillDataset("dataset_refill_f32", dataset, rows, x, x_stride, y, y_stride, weights, weights_count)
}

@_cdecl("taskmet_dataset_set_instances") @implementation
public func taskmet_dataset_set_instances(
  _ dataset: OpaquePointer!, _ instance_count: Int64, _ offsets: UnsafePointer<Int64>!
) -> taskmet_status {
  call("dataset_set_instances") {
    let object: Dataset = try resolve(dataset, "dataset")
    let count = try requireInteger(instance_count, "instance_count")
    let offsets = try requirePointer(offsets, "offsets")
    try withAccess(writing: [object]) {
      guard count <= object.rows else {
        throw TaskMetError.shape("instance_count must be <= \(object.rows), the dataset's rows, got \(count)")
      }
      guard offsets[0] == 0 else { throw TaskMetError.invalidArgument("offsets[0] must be 0, got \(offsets[0])") }
      if let k = (1...count).first(where: { offsets[$0] <= offsets[$0 - 1] }) {
        throw TaskMetError.invalidArgument("offsets[\(k)] must be > \(offsets[k - 1]), got \(offsets[k])")
      }
      guard offsets[count] == Int64(object.rows) else {
        throw TaskMetError.shape("offsets[\(count)] must be \(object.rows), the dataset's rows, got \(offsets[count])")
      }
      try object.setOffsets(offsets, count: count + 1)
    }
  }
}

@_cdecl("taskmet_dataset_set_weights") @implementation
public func taskmet_dataset_set_weights(
  _ dataset: OpaquePointer!, _ weights: UnsafePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("dataset_set_weights") {
    let object: Dataset = try resolve(dataset, "dataset")
    try withAccess(writing: [object]) {
      try object.setWeights(try requireWeights(weights, count, object.rows, "count"))
    }
  }
}

@_cdecl("taskmet_dataset_set_context") @implementation
public func taskmet_dataset_set_context(
  _ dataset: OpaquePointer!, _ values: UnsafePointer<Double>!, _ instance_count: Int64,
  _ offsets: UnsafePointer<Int64>!
) -> taskmet_status {
  call("dataset_set_context") {
    let object: Dataset = try resolve(dataset, "dataset")
    try withAccess(writing: [object]) {
      try requireCount(instance_count, values == nil ? 0 : object.instanceCount, "instance_count")
      try object.setContext(try values.map { try requireContext($0, Int(instance_count), offsets) })
    }
  }
}

private func requireContext(
  _ values: UnsafePointer<Double>, _ instances: Int, _ offsets: UnsafePointer<Int64>?
) throws -> InstanceContext {
  let offsets = try requirePointer(offsets, "offsets")
  guard offsets[0] == 0 else { throw TaskMetError.invalidArgument("offsets[0] must be 0, got \(offsets[0])") }
  if let k = (1...instances).first(where: { offsets[$0] < offsets[$0 - 1] }) {
    throw TaskMetError.invalidArgument("offsets[\(k)] must be >= \(offsets[k - 1]), got \(offsets[k])")
  }
  let count = try requireInteger(offsets[instances], "offsets[\(instances)]", atLeast: 0, atMost: 1 << 44)
  if let index = firstNonFinite(count, values) {
    throw TaskMetError.invalidArgument("values[\(index)] must be finite, got \(values[index])")
  }
  return InstanceContext(
    values: try Buffer(copying: values, count: count), offsets: try Buffer(copying: offsets, count: instances + 1))
}

@_cdecl("taskmet_dataset_shape") @implementation
public func taskmet_dataset_shape(
  _ dataset: OpaquePointer!, _ rows: UnsafeMutablePointer<Int64>!, _ features: UnsafeMutablePointer<Int64>!,
  _ targets: UnsafeMutablePointer<Int64>!, _ instances: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  call("dataset_shape") {
    let object: Dataset = try resolve(dataset, "dataset")
    try withAccess(reading: [object]) {
      rows?.pointee = Int64(object.rows)
      features?.pointee = Int64(object.features)
      targets?.pointee = Int64(object.targets)
      instances?.pointee = Int64(object.instanceCount)
    }
  }
}

@_cdecl("taskmet_dataset_precision") @implementation
public func taskmet_dataset_precision(
  _ dataset: OpaquePointer!, _ precision: UnsafeMutablePointer<taskmet_precision>!
) -> taskmet_status {
  call("dataset_precision") {
    let object: Dataset = try resolve(dataset, "dataset")
    try requirePointer(precision, "precision").pointee = object.precision.rawValue
  }
}

@_cdecl("taskmet_workspace_create") @implementation
public func taskmet_workspace_create(
  _ threads: Int64, _ metric_cache_bytes: Int64, _ workspace: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("workspace_create") {
    let out = try requirePointer(workspace, "workspace")
    let threads = try requireInteger(threads, "threads", atLeast: 1, atMost: 256)
    let bytes = try requireInteger(metric_cache_bytes, "metric_cache_bytes", atLeast: 0)
    let object = Workspace(
      threads: threads, metricCacheBytes: bytes == 0 ? Workspace.defaultMetricCacheBytes : bytes)
    out.pointee = try makeHandle(object)
  }
}

@_cdecl("taskmet_workspace_destroy") @implementation
public func taskmet_workspace_destroy(_ workspace: OpaquePointer!) { destroyHandle(workspace, as: Workspace.self) }
