// Fuzzes the file of users and their secrets.

import Configuration

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzAuthFile(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
    let result = loadConfiguration(path: "weir.ini") { path in
        path == "weir.ini" ? .success("[weir]\nauth_type = md5\nauth_file = users\n") : .success(text)
    }
    switch result {
    case .success(let configuration):
        for secret in configuration.secrets.values { _ = String(describing: secret) }
    case .failure(let errors):
        _ = String(describing: errors)
    }
    return 0
}
