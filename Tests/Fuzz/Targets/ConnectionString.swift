// Fuzzes the right-hand side of a line in [databases] and [users], and the address on the command line.

import Configuration

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConnectionString(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    for section in ["databases", "users"] {
        let file = "[weir]\nauth_type = any\n[\(section)]\nname = \(text)\n"
        _ = loadConfiguration(path: "weir.ini") { path in path == "weir.ini" ? .success(file) : .success("") }
    }
    _ = configuration(fromURL: text)
    _ = configuration(fromURL: "postgres://" + text)
    return 0
}
