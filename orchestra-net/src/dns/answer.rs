//! From a question to an answer, as messages. Pure, but for names that others must be asked about.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::zone::{Found, Zone};

/// How large a datagram may be that certainly arrives in one piece.
pub(super) const DATAGRAM: u16 = 1232;
/// How large a datagram may be for those who do not say.
const SMALL: usize = 512;
/// How many names that stand for other names are followed within the cluster.
const ALIASES: usize = 8;

/// What became of a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// This is the answer.
    Done(Message),
    /// Others know.
    Forward,
    /// The answer so far; others know what the name is that it ends in.
    Follow(Message, Name, RecordType),
}

/// Answers what is known in the cluster.
pub(super) fn answer(zone: &Zone, request: &Message) -> Reply {
    let mut response = response_to(request);
    if let Some(code) = unanswerable(request) {
        response.metadata.response_code = code;
        return Reply::Done(response);
    }
    // One, as was just seen.
    let Some(query) = request.queries.first() else { return Reply::Done(response) };
    let (mut name, kind) = (query.name.clone(), query.query_type);
    for step in 0..ALIASES {
        match zone.find(&name, kind) {
            Found::Elsewhere if step == 0 => return Reply::Forward,
            Found::Elsewhere => return Reply::Follow(response, name, kind),
            Found::Alias { record, target } => {
                response.answers.push(*record);
                name = target;
                continue;
            }
            Found::Records { mut answers, additionals } => {
                // Whoever takes the first of several shall not always take the same.
                let turn = usize::from(request.metadata.id) % answers.len().max(1);
                answers.rotate_left(turn);
                response.answers.extend(answers);
                response.additionals.extend(additionals);
            }
            Found::Nothing => response.authorities.push(zone.authority()),
            Found::NoName => {
                response.metadata.response_code = ResponseCode::NXDomain;
                response.authorities.push(zone.authority());
            }
        }
        response.metadata.authoritative = true;
        return Reply::Done(response);
    }
    response.metadata.response_code = ResponseCode::ServFail;
    Reply::Done(response)
}

/// An empty answer that goes with a question.
pub(super) fn response_to(request: &Message) -> Message {
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.checking_disabled = request.metadata.checking_disabled;
    response.metadata.recursion_available = true;
    response.queries.clone_from(&request.queries);
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
        response.edns = Some(edns);
    }
    response
}

/// Why a question is not looked at.
fn unanswerable(request: &Message) -> Option<ResponseCode> {
    let [query] = request.queries.as_slice() else { return Some(ResponseCode::FormErr) };
    if request.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    let transfers = [RecordType::AXFR, RecordType::IXFR];
    (query.query_class != DNSClass::IN || transfers.contains(&query.query_type))
        .then_some(ResponseCode::Refused)
}

/// How large a datagram the asker takes.
pub(super) fn room(request: &Message) -> usize {
    let said = request.edns.as_ref().map_or(SMALL, |edns| usize::from(edns.max_payload()));
    said.clamp(SMALL, usize::from(DATAGRAM))
}

/// A message as bytes, of which there is room for so many. What does not fit is left out, last things first; who sees
/// that answers are missing asks again over TCP.
pub(super) fn encode(mut message: Message, room: usize) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= room {
        return Some(bytes);
    }
    message.additionals.clear();
    // No record is smaller than an address with a compressed name.
    let most = room / 16;
    message.metadata.truncation |= message.answers.len() > most;
    message.answers.truncate(most);
    loop {
        let bytes = message.to_vec().ok()?;
        if bytes.len() <= room {
            return Some(bytes);
        }
        message.metadata.truncation = true;
        if message.answers.pop().is_none() && message.authorities.pop().is_none() {
            return message.truncate().to_vec().ok();
        }
    }
}
