//! The protocols by which the streams of a WebSocket are numbered; pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

use super::handshake::Named;
use super::outcome::Telling;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `v5.channel.k8s.io`, with which a client can end its streams.
    V5,
    /// `v4.channel.k8s.io`.
    V4,
    /// The same in base64, for clients that know no bytes.
    V4Text,
    /// `channel.k8s.io`, by which a client is told as text what went wrong, and else nothing.
    V1,
    /// The same in base64, as consoles in browsers ask for it.
    V1Text,
    /// As [`V1`](Self::V1), for a client that names nothing.
    Unnamed,
}

impl Version {
    /// Those that are served.
    pub(crate) const SERVED: [Named<Self>; 6] = [
        ("v5.channel.k8s.io", Self::V5),
        ("v4.channel.k8s.io", Self::V4),
        ("channel.k8s.io", Self::V1),
        ("v4.base64.channel.k8s.io", Self::V4Text),
        ("base64.channel.k8s.io", Self::V1Text),
        ("", Self::Unnamed),
    ];
    /// Those that a client of ours proposes.
    pub(crate) const PROPOSED: [Named<Self>; 3] =
        [("v5.channel.k8s.io", Self::V5), ("v4.channel.k8s.io", Self::V4), ("channel.k8s.io", Self::V1)];

    /// As which it is known; empty if it has no name.
    pub(crate) fn name(self) -> &'static str {
        let found = Self::SERVED.iter().find(|(_, served)| *served == self);
        found.map_or("", |(name, _)| name)
    }

    /// How a client is told how a command ended.
    pub(crate) fn telling(self) -> Telling {
        match self {
            Self::V5 | Self::V4 | Self::V4Text => Telling::Status,
            Self::V1 | Self::V1Text | Self::Unnamed => Telling::Text,
        }
    }

    fn encoded(self) -> bool {
        matches!(self, Self::V4Text | Self::V1Text)
    }

    /// A message of a stream: its number, and then the bytes.
    pub(crate) fn message(self, number: u8, bytes: &[u8]) -> Message {
        if self.encoded() {
            let digit = char::from(b'0'.wrapping_add(number));
            return Message::text(format!("{digit}{}", STANDARD.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(number);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The number and the bytes of a message that is not empty. What is no base64 says nothing.
    pub(crate) fn taken_apart(self, mut message: Bytes) -> Option<(u8, Bytes)> {
        let first = message.split_to(1)[0];
        if self.encoded() {
            return Some((first.wrapping_sub(b'0'), STANDARD.decode(&message).ok()?.into()));
        }
        Some((first, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_apart_as_it_was_made() {
        for (_, version) in Version::SERVED {
            let message = version.message(4, b"{\"Width\": 80}");
            assert_eq!(message.is_text(), version.encoded(), "{version:?}");
            let apart = version.taken_apart(message.into_data());
            assert_eq!(apart, Some((4, Bytes::from_static(b"{\"Width\": 80}"))), "{version:?}");
        }
        assert_eq!(Version::V1Text.message(1, b"\n"), Message::text("1Cg=="));
        assert_eq!(Version::V1Text.taken_apart(Bytes::from_static(b"0")), Some((0, Bytes::new())));
        assert_eq!(Version::V4Text.taken_apart(Bytes::from_static(b"0?")), None);
    }
}
