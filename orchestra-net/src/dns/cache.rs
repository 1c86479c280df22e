//! What others answered, for as long as they say that it holds, and no more than so much of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// How long an answer is kept at most.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long it is kept at most that there is no such name.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);

/// What tells one question from another; a name that is written otherwise is the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    name: Name,
    kind: RecordType,
    /// Whether signatures are wanted, and whether they are to be checked.
    dnssec: (bool, bool),
}

impl Question {
    /// The one question of a message.
    pub(super) fn of(request: &Message) -> Option<Self> {
        let query = request.queries.first()?;
        let wanted = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        Some(Self {
            name: query.name.to_lowercase(),
            kind: query.query_type,
            dnssec: (wanted, request.metadata.checking_disabled),
        })
    }
}

#[derive(Debug)]
struct Held {
    answer: Message,
    since: Instant,
    until: Instant,
}

/// Answers of others.
#[derive(Debug)]
pub(super) struct Cache {
    held: HashMap<Question, Held>,
    most: usize,
}

impl Cache {
    /// One that keeps so many answers.
    pub(super) fn new(most: usize) -> Self {
        Self { held: HashMap::new(), most }
    }

    /// An answer that still holds, with the time that is left to it.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<Message> {
        let held = self.held.get(question).filter(|held| held.until > now)?;
        let age = now.saturating_duration_since(held.since).as_secs().try_into().unwrap_or(u32::MAX);
        let mut answer = held.answer.clone();
        let records = answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals);
        for record in records {
            record.decrement_ttl(age);
        }
        Some(answer)
    }

    /// Keeps an answer, if it says for how long.
    pub(super) fn put(&mut self, question: Question, answer: &Message, now: Instant) {
        let Some(life) = life(answer).filter(|life| !life.is_zero()) else { return };
        if self.held.len() >= self.most && !self.held.contains_key(&question) {
            self.make_room(now);
        }
        self.held.insert(question, Held { answer: answer.clone(), since: now, until: now + life });
    }

    /// Lets go of what holds no more, or else of an eighth, whatever it is.
    fn make_room(&mut self, now: Instant) {
        self.held.retain(|_, held| held.until > now);
        if self.held.len() >= self.most {
            let some: Vec<Question> = self.held.keys().take(self.most / 8 + 1).cloned().collect();
            some.iter().for_each(|question| drop(self.held.remove(question)));
        }
    }
}

/// For how long an answer holds. `None`: it does not say, or is about a fault that may pass.
fn life(answer: &Message) -> Option<Duration> {
    let code = answer.metadata.response_code;
    if answer.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    if code == ResponseCode::NoError && !answer.answers.is_empty() {
        let shortest = answer.answers.iter().map(|record| record.ttl).min()?;
        return Some(seconds(shortest).min(LONGEST));
    }
    let soa = answer.authorities.iter().find_map(negative)?;
    Some(seconds(soa).min(LONGEST_NEGATIVE))
}

fn negative(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{OpCode, Query};
    use hickory_proto::rr::rdata::SOA;

    use super::*;

    fn asked(name: &str) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message
    }

    fn answered(name: &str, ttls: &[u32]) -> Message {
        let mut message = Message::response(7, OpCode::Query);
        let name = Name::from_ascii(name).unwrap();
        for ttl in ttls {
            let data = RData::A(std::net::Ipv4Addr::LOCALHOST.into());
            message.add_answer(Record::from_rdata(name.clone(), *ttl, data));
        }
        message
    }

    fn negative_answer(ttl: u32, minimum: u32) -> Message {
        let mut message = answered("x.", &[]);
        message.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, minimum);
        message.add_authority(Record::from_rdata(Name::root(), ttl, RData::SOA(soa)));
        message
    }

    #[test]
    fn an_answer_holds_as_long_as_it_says() {
        let failed = Message::error_msg(1, OpCode::Query, ResponseCode::ServFail);
        let mut cut = answered("x.", &[60]);
        cut.metadata.truncation = true;
        for (answer, expected) in [
            (answered("x.", &[60, 20]), Some(20)),
            (answered("x.", &[1_000_000]), Some(3600)),
            (answered("x.", &[]), None),
            (negative_answer(100, 30), Some(30)),
            (negative_answer(10, 30), Some(10)),
            (negative_answer(9000, 9000), Some(300)),
            (failed, None),
            (cut, None),
        ] {
            assert_eq!(life(&answer).map(|life| life.as_secs()), expected, "{answer}");
        }
    }

    #[test]
    fn what_is_kept_ages_and_ends() {
        let (mut cache, begin) = (Cache::new(10), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        cache.put(Question::of(&asked("Web.Example.")).unwrap(), &answered("web.example.", &[60]), begin);
        let question = Question::of(&asked("web.example.")).unwrap();
        assert_eq!(cache.get(&question, at(25)).unwrap().answers[0].ttl, 35);
        assert!(cache.get(&question, at(60)).is_none());
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let (mut cache, begin) = (Cache::new(20), Instant::now());
        for n in 0..500 {
            let name = format!("n{n}.");
            cache.put(Question::of(&asked(&name)).unwrap(), &answered(&name, &[60]), begin);
            assert!(cache.held.len() <= 20);
            assert!(cache.get(&Question::of(&asked(&name)).unwrap(), begin).is_some(), "the last is kept");
        }
    }
}
