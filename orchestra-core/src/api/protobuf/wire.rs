//! The encoding of protobuf: fields one after the other, each a number, a wire type and a value.

use thiserror::Error;

/// What is wrong with the bytes.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Fault {
    #[error("the data ends in the middle of it")]
    Truncated,
    #[error("a number is longer than 64 bits")]
    LongNumber,
    #[error("it has no field number that protobuf allows")]
    FieldNumber,
    #[error("wire type {0} is not one that Kubernetes writes there")]
    WireType(u8),
    #[error("it is not valid UTF-8")]
    NotUtf8,
    #[error("it is not a time between the years -9999 and 9999")]
    NotATime,
    #[error("messages are nested too deep")]
    TooDeep,
    #[error("it is not valid JSON")]
    NotJson,
}

/// The value of a field, of which only its number is known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire<'b> {
    Varint(u64),
    /// Eight bytes: a floating-point number.
    Fixed(u64),
    /// Four bytes. No kind has such a field, so it is only ever skipped.
    Short,
    /// Text, bytes or a message.
    Bytes(&'b [u8]),
}

impl<'b> Wire<'b> {
    pub(super) fn varint(self) -> Result<u64, Fault> {
        match self {
            Self::Varint(value) => Ok(value),
            other => Err(other.unexpected()),
        }
    }

    pub(super) fn double(self) -> Result<f64, Fault> {
        match self {
            Self::Fixed(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.unexpected()),
        }
    }

    pub(super) fn bytes(self) -> Result<&'b [u8], Fault> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.unexpected()),
        }
    }

    pub(super) fn text(self) -> Result<&'b str, Fault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Fault::NotUtf8)
    }

    fn unexpected(self) -> Fault {
        Fault::WireType(match self {
            Self::Varint(_) => 0,
            Self::Fixed(_) => 1,
            Self::Short => 5,
            Self::Bytes(_) => 2,
        })
    }
}

/// Reads the fields of one message. What it gives out borrows from the input; nothing is copied or reserved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(message: &'b [u8]) -> Self {
        Self { rest: message }
    }

    /// The number and value of the next field; `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Wire<'b>)>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(Fault::FieldNumber)?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?.first_chunk().copied().ok_or(Fault::Truncated)?;
                Wire::Fixed(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Fault::Truncated)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Short)?,
            // 3 and 4 are groups, which Kubernetes has never used.
            other => return Err(Fault::WireType(other as u8)),
        };
        Ok(Some((number, wire)))
    }

    /// The next of the numbers of a packed list; `None` at its end.
    pub(super) fn packed(&mut self) -> Result<Option<Wire<'b>>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.varint().map(|value| Some(Wire::Varint(value)))
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit and no more.
            if index == 9 && *byte > 1 {
                return Err(Fault::LongNumber);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Fault::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The fields numbered 1 to `N` of a small message, the last of each; others are skipped.
pub(super) fn fields<const N: usize>(message: &[u8]) -> Result<[Option<Wire<'_>>; N], Fault> {
    let mut found = [None; N];
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        if let Some(slot) = found.get_mut(number as usize - 1) {
            *slot = Some(wire);
        }
    }
    Ok(found)
}
