//! Where in the file a key stands, for a mistake that is found after the file was read.

use toml::de::{DeTable, DeValue};

use super::diagnostic::Report;

/// The line of the key at the end of `path`, whose parts are keys and, in arrays, numbers from 0. Of a key that is not
/// there, the line of the innermost table on its way that is; `None` where there is none.
pub fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    let report = Report::new("", text, &syntax_errors);
    let (mut line, mut table) = (None, Some(root.get_ref()));
    let mut array = None;
    for part in path {
        let value = match (table.take(), array.take()) {
            (Some(table), _) => table.get(*part),
            (None, Some(array)) => part.parse().ok().and_then(|nth: usize| <[_]>::get(array, nth)),
            (None, None) => None,
        };
        let Some(value) = value else { break };
        line = Some(report.line(&value.span()));
        match value.get_ref() {
            DeValue::Table(inner) => table = Some(inner),
            DeValue::Array(inner) => array = Some(&inner[..]),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn a_key_is_found_or_its_table() {
        let text = "[dpdk]\nmemory = \"auto\"\n\n[[interfaces]]\nname = \"a\"\n[[interfaces]]\nname = \"b\"\ndevice = \"d\"\n\
                    [nat.limits]\nsessions = 7\n";
        for (path, line) in [
            (&["dpdk", "memory"][..], Some(2)),
            (&["dpdk", "eal_args"], Some(1)),
            (&["interfaces", "0", "device"], Some(4)),
            (&["interfaces", "1", "device"], Some(8)),
            (&["nat", "limits", "sessions"], Some(10)),
            (&["management", "listen"], None),
        ] {
            assert_eq!(line_of(text, path), line, "{path:?}");
        }
    }
}
