//! Netlink messages as bytes: headers, and attributes that may hold others.

/// Of an attribute that holds others.
const NESTED: u16 = 1 << 15;
const ALIGN: usize = 4;

/// Messages one after another.
#[derive(Debug, Default)]
pub(super) struct Bytes(Vec<u8>);

/// What goes before the attributes of a message of the packet filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// The family of addresses by the kernel's number.
    pub(super) family: u8,
    pub(super) resource: u16,
}

impl Bytes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// A message with such attributes.
    pub(super) fn message(&mut self, head: Head, attributes: impl FnOnce(&mut Self)) {
        let start = self.len();
        self.0.extend([0; 4]);
        self.0.extend(head.kind.to_ne_bytes());
        self.0.extend(head.flags.to_ne_bytes());
        self.0.extend(head.sequence.to_ne_bytes());
        // The port, which is the kernel's.
        self.0.extend([0; 4]);
        self.0.extend([head.family, 0]);
        self.0.extend(head.resource.to_be_bytes());
        attributes(self);
        let length = u32::try_from(self.len() - start).unwrap_or(u32::MAX);
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// An attribute of bytes.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.0.extend(value));
    }

    /// An attribute of a number, as the packet filter takes them.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// An attribute of a text.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, |bytes| {
            bytes.0.extend(text.as_bytes());
            bytes.0.push(0);
        });
    }

    /// An attribute of others.
    pub(super) fn nest(&mut self, kind: u16, attributes: impl FnOnce(&mut Self)) {
        self.attribute(kind | NESTED, attributes);
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Self)) {
        let start = self.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        value(self);
        // Nothing that is put into one comes near the bound: lists are written in parts.
        let length = u16::try_from(self.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.len().next_multiple_of(ALIGN), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_hold_others_and_are_aligned() {
        let mut bytes = Bytes::default();
        let head = Head { kind: 0x0a06, flags: 1, sequence: 7, family: 2, resource: 10 };
        bytes.message(head, |message| {
            message.text(1, "ab");
            message.nest(4, |inner| inner.number(2, 5));
        });
        let expected = [
            &40_u32.to_ne_bytes()[..],
            &0x0a06_u16.to_ne_bytes(),
            &1_u16.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
            &[0; 4],
            &[2, 0, 0, 10],
            &7_u16.to_ne_bytes(),
            &1_u16.to_ne_bytes(),
            b"ab\0\0",
            &12_u16.to_ne_bytes(),
            &(4 | NESTED).to_ne_bytes(),
            &8_u16.to_ne_bytes(),
            &2_u16.to_ne_bytes(),
            &[0, 0, 0, 5],
        ];
        assert_eq!(bytes.into_vec(), expected.concat());
    }
}
