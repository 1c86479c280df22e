//! Headers of SPDY/3: names and values, compressed over the whole connection with a dictionary that both sides know; pure.

use std::sync::LazyLock;

use bytes::{Buf as _, BufMut as _, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The most that the headers of one stream may be.
const LONGEST: usize = 16 * 1024;

/// Words of the dictionary, of which each has its length before it.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// What follows them.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
                    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 \
                    Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service \
                    UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, \
                    Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml\
                    +xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-\
                    8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS {
        dictionary.put_u32(word.len() as u32);
        dictionary.put_slice(word.as_bytes());
    }
    dictionary.put_slice(REST.as_bytes());
    dictionary
});

/// Names, in lower case, and values.
pub(super) type Headers = Vec<(String, String)>;

/// Why bytes are no headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not compressed as agreed.
    #[error("the headers of a stream are not compressed as they should be: {0}")]
    Compression(String),
    /// Too long.
    #[error("the headers of a stream are longer than {LONGEST} bytes")]
    TooLong,
    /// Not as long as they say.
    #[error("the headers of a stream are broken off")]
    Broken,
}

/// Reads the headers of a connection, one after another: each builds upon those before it.
#[derive(Debug)]
pub(super) struct HeaderReader(Decompress);

impl HeaderReader {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        parse(self.inflate(block)?.into())
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let failed = |error: &dyn ToString| HeaderError::Compression(error.to_string());
        let mut out = Vec::with_capacity(512);
        loop {
            if out.len() == out.capacity() {
                if out.len() >= LONGEST {
                    return Err(HeaderError::TooLong);
                }
                out.reserve(out.len().max(512));
            }
            let (read, written) = (self.0.total_in(), out.len());
            let outcome = self.0.decompress_vec(block, &mut out, FlushDecompress::Sync);
            let read = usize::try_from(self.0.total_in() - read).unwrap_or(block.len());
            block = block.get(read..).unwrap_or_default();
            match outcome {
                Ok(Status::StreamEnd) => return Ok(out),
                // Nothing is left, and there was room for more.
                Ok(_) if block.is_empty() && out.len() < out.capacity() => return Ok(out),
                Ok(_) if read > 0 || out.len() > written || out.len() == out.capacity() => {}
                Ok(_) => return Err(failed(&"it does not end")),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|error| failed(&error))?;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }
}

fn parse(mut bytes: Bytes) -> Result<Headers, HeaderError> {
    let count = number(&mut bytes)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let (name, value) = (text(&mut bytes)?, text(&mut bytes)?);
        headers.push((name.to_ascii_lowercase(), value));
    }
    Ok(headers)
}

fn number(bytes: &mut Bytes) -> Result<usize, HeaderError> {
    bytes.try_get_u32().map(|number| number as usize).map_err(|_| HeaderError::Broken)
}

fn text(bytes: &mut Bytes) -> Result<String, HeaderError> {
    let length = number(bytes)?;
    if length > bytes.len() {
        return Err(HeaderError::Broken);
    }
    Ok(String::from_utf8_lossy(&bytes.split_to(length)).into_owned())
}

/// Writes the headers of a connection.
#[derive(Debug)]
pub(super) struct HeaderWriter(Compress);

impl HeaderWriter {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::default(), true);
        // It is refused only after something was written.
        let _ = compress.set_dictionary(&DICTIONARY);
        Self(compress)
    }

    pub(super) fn write(&mut self, headers: &[(&str, &str)]) -> Bytes {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 128);
        let mut rest = plain.as_slice();
        loop {
            let before = self.0.total_in();
            let written = self.0.compress_vec(rest, &mut out, FlushCompress::Sync);
            let read = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(read..).unwrap_or_default();
            if written.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                return out.into();
            }
            out.reserve(out.len().max(128));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Adler-32 of the dictionary, which a compressed stream names when it asks for it.
    #[test]
    fn the_dictionary_is_the_one_of_the_specification() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (low, high) = DICTIONARY.iter().fold((1u32, 0u32), |(low, high), byte| {
            let low = (low + u32::from(*byte)) % 65521;
            (low, (high + low) % 65521)
        });
        assert_eq!(high << 16 | low, 0xe3c6_a7c2);
    }

    #[test]
    fn headers_build_upon_those_before_them() {
        let (mut writer, mut reader) = (HeaderWriter::new(), HeaderReader::new());
        let lines = [("streamtype", "data"), ("port", "8080"), ("requestid", "0")];
        let mut lengths = Vec::new();
        for _ in 0..100 {
            let block = writer.write(&lines);
            lengths.push(block.len());
            let read = reader.read(&block).unwrap();
            assert!(read.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(lines));
        }
        assert!(lengths[1] < lengths[0]);
        assert_eq!(reader.read(&writer.write(&[])).unwrap(), []);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let error = |block: &[u8]| HeaderReader::new().read(block).unwrap_err();
        assert_eq!(error(b""), HeaderError::Broken);
        assert!(matches!(error(b"nonsense"), HeaderError::Compression(_)));
        // More than fits, in few bytes.
        let long = "x".repeat(8 * LONGEST);
        let mut writer = HeaderWriter::new();
        assert_eq!(error(&writer.write(&[("name", &long)])), HeaderError::TooLong);
        // Lengths that are none.
        let mut compress = HeaderWriter::new();
        let mut out = Vec::with_capacity(256);
        compress.0.compress_vec(b"\xff\xff\xff\xff\0\0\0\x7fabc", &mut out, FlushCompress::Sync).unwrap();
        assert_eq!(error(&out), HeaderError::Broken);
    }

    proptest! {
        #[test]
        fn headers_come_back(lines in proptest::collection::vec(("[a-z-]{1,20}", ".{0,40}"), 0..20)) {
            let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let read = HeaderReader::new().read(&HeaderWriter::new().write(&lines)).unwrap();
            prop_assert!(read.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(lines));
        }

        #[test]
        fn any_bytes_are_headers_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = HeaderReader::new().read(&bytes);
        }
    }
}
