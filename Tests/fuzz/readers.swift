// The readers of data files as C functions, for fuzz_readers.c. Each returns 1 where its promise was kept: what is read
// is finite and has the size that it says, what is refused has a reason.

@testable import TaskMetExperiments

private func isKept(_ bytes: UnsafePointer<UInt8>, _ count: Int64, _ read: ([UInt8]) throws -> Bool) -> Int32 {
  do {
    return try read(Array(UnsafeBufferPointer(start: bytes, count: Int(count)))) ? 1 : 0
  } catch let error as ExperimentError {
    return "\(error)".isEmpty ? 0 : 1
  } catch {
    return 0
  }
}

@_cdecl("taskmet_fuzz_csv")
public func readCSV(_ bytes: UnsafePointer<UInt8>, _ count: Int64) -> Int32 {
  isKept(bytes, count) {
    let (rows, columns, values) = try CSV($0, path: "csv").numbers()
    return values.count == rows * columns && values.allSatisfy(\.isFinite)
  }
}

@_cdecl("taskmet_fuzz_prices")
public func readPrices(_ bytes: UnsafePointer<UInt8>, _ count: Int64) -> Int32 {
  isKept(bytes, count) {
    let table = try PriceTable(try CSV($0, path: "csv"))
    return table.prices.count == table.days * table.symbols.count && table.prices.allSatisfy { $0 > 0 && $0.isFinite }
  }
}

@_cdecl("taskmet_fuzz_loads")
public func readLoads(_ bytes: UnsafePointer<UInt8>, _ count: Int64) -> Int32 {
  isKept(bytes, count) {
    try LoadFile($0, path: "loads").rows.allSatisfy { $0.x.count == LoadFile.features && $0.y.count == 24 }
  }
}

@_cdecl("taskmet_fuzz_npy")
public func readNumPy(_ bytes: UnsafePointer<UInt8>, _ count: Int64) -> Int32 {
  isKept(bytes, count) {
    let array = try NumPyArray($0, path: "npy")
    return array.values.count == array.shape.reduce(1, *) && array.values.allSatisfy(\.isFinite)
  }
}
