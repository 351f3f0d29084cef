// Settings while Weir runs: what the console's SET and SHOW CONFIG do, without the console.

/// One row of SHOW CONFIG.
public struct ConfigRow: Sendable, Equatable {
    /// The setting's name.
    public let key: String
    /// Its value: times as plain numbers, booleans as 0 or 1.
    public let value: String
    /// Its default, in the words of the file.
    public let defaultText: String
    /// Whether SET and RELOAD can change it.
    public let isChangeable: Bool
}

/// Gives a setting another value, as SET does. Errors: no such setting, not a value of its type, not built, or not
/// changeable while Weir runs.
public func applySet(key: String, value: String, to settings: Settings) -> Result<Settings, SettingError> {
    guard let setting = Setting.named(key) else { return .failure(.unknown(key: key)) }
    guard setting.isReloadable else { return .failure(.notReloadable(key: key)) }
    var changed = settings
    do throws(SettingError) {
        try setting.assign(value, to: &changed)
    } catch {
        return .failure(error)
    }
    return .success(changed)
}

/// The rows of SHOW CONFIG, sorted by key.
public func showConfig(_ settings: Settings) -> [ConfigRow] {
    settingsTable.sorted { $0.name < $1.name }.map { setting in
        ConfigRow(
            key: setting.name, value: setting.text(in: settings), defaultText: setting.defaultText,
            isChangeable: setting.isReloadable)
    }
}
