// Fuzzes the configuration file. The file may include itself and name itself as its auth_file.

import Configuration

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConfiguration(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    let result = loadConfiguration(path: "weir.ini") { path in
        path == "weir.ini" ? .success(text) : .success("[users]\n")
    }
    if case .failure(let errors) = result { _ = String(describing: errors) }
    return 0
}
