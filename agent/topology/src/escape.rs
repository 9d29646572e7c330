//! The octal escapes in the kernel's tables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Replaces each `\ooo` by its byte.
///
/// The kernel writes space, tab, newline, backslash and, in some fields, `#` that way (`seq_path` and `mangle` in
/// fs/seq_file.c and fs/proc_namespace.c). A backslash that begins no escape stays: not every driver that prints its
/// own source escapes it.
pub(crate) fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The byte of the escape that `text` begins with.
fn octal(text: &[u8]) -> Option<u8> {
    match *text {
        [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', ..] => {
            Some((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    /// Writes a field as the kernel does.
    pub(crate) fn escape(field: &[u8]) -> Vec<u8> {
        field
            .iter()
            .flat_map(|&byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![byte],
            })
            .collect()
    }

    #[test]
    fn each_escape_becomes_its_byte() {
        assert_eq!(unescape(br"a\040b\011c\012d\134e\043f\377").as_bytes(), b"a b\tc\nd\\e#f\xff");
    }

    #[test]
    fn an_escaped_backslash_begins_no_new_escape() {
        assert_eq!(unescape(br"\134040").as_bytes(), br"\040");
    }

    #[test]
    fn a_backslash_that_begins_no_escape_stays() {
        for text in [r"\", r"\04", r"\400", r"\08x", r"a\b"] {
            assert_eq!(unescape(text.as_bytes()), text);
        }
    }

    proptest! {
        #[test]
        fn what_was_escaped_comes_back(field: Vec<u8>) {
            let written = escape(&field);
            prop_assert!(!written.contains(&b' ') && !written.contains(&b'\n'));
            prop_assert_eq!(unescape(&written).into_vec(), field);
        }
    }
}
