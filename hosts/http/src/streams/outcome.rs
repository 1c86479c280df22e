//! How the end of a command is told, and read again; pure.

use orchestra_core::api::Status;
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::json;

/// The reason of a command that ended with another code than 0.
const EXIT: &str = "NonZeroExitCode";
/// The cause whose message is the code.
const CODE: &str = "ExitCode";

/// How a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// As a `Status` in any case, since `v4.channel.k8s.io`.
    Status,
    /// As text, and only of what went wrong.
    Text,
}

impl Telling {
    /// What a client is told of the end of a command.
    pub(crate) fn tell(self, outcome: &Result<i32, Status>) -> Vec<u8> {
        match (self, outcome) {
            (Self::Status, Ok(0)) => json!({"metadata": {}, "status": "Success"}).to_string().into(),
            (Self::Status, Ok(code)) => json!({
                "metadata": {},
                "status": "Failure",
                "message": exit_message(*code),
                "reason": EXIT,
                "details": {"causes": [{"reason": CODE, "message": code.to_string()}]},
            })
            .to_string()
            .into(),
            (Self::Status, Err(status)) => status.to_json(),
            (Self::Text, Ok(0)) => Vec::new(),
            (Self::Text, Ok(code)) => exit_message(*code).into(),
            (Self::Text, Err(status)) => status.message().into(),
        }
    }
}

fn exit_message(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit status {code}")
}

/// What a server has told.
pub(crate) fn read(told: &[u8]) -> Result<i32, Status> {
    let unreadable = || {
        let told = String::from_utf8_lossy(&told[..told.len().min(1024)]).into_owned();
        Status::internal(format!("the server did not say how the command ended, but {told:?}"))
    };
    let status: meta::Status = serde_json::from_slice(told).map_err(|_| unreadable())?;
    match (status.status.as_deref(), status.reason.as_deref()) {
        (Some("Success"), _) => Ok(0),
        (Some("Failure"), Some(EXIT)) => {
            let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
            let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some(CODE));
            let code = code.and_then(|cause| cause.message?.parse().ok());
            code.ok_or_else(unreadable)
        }
        (Some("Failure"), _) => Err(Status::from_object(status)),
        _ => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_reads_what_it_is_told() {
        for code in [0, 1, 42, 255] {
            assert_eq!(read(&Telling::Status.tell(&Ok(code))).unwrap(), code);
        }
        let failed = Err(Status::bad_request("container web is not running in pod a"));
        let told = read(&Telling::Status.tell(&failed)).unwrap_err();
        assert_eq!((told.code(), told.message()), (400, "container web is not running in pod a"));
        for nothing in ["", "{", "{}", r#"{"status": "Failure", "reason": "NonZeroExitCode"}"#, "[1]"] {
            assert_eq!(read(nothing.as_bytes()).unwrap_err().code(), 500, "{nothing}");
        }
    }

    #[test]
    fn old_clients_are_told_only_of_what_went_wrong() {
        assert_eq!(Telling::Text.tell(&Ok(0)), b"");
        assert!(Telling::Text.tell(&Ok(3)).ends_with(b"exit status 3"));
        assert_eq!(Telling::Text.tell(&Err(Status::bad_request("no"))), b"no");
    }
}
