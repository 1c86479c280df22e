//! The homes of users.

use orchestra_core::runtime::ContainerSpec;

/// The home of the user that a container runs as.
pub(super) fn of(spec: &ContainerSpec) -> String {
    let own = rustix::process::geteuid().as_raw();
    let user = spec.security.run_as_user.and_then(|user| u32::try_from(user).ok()).unwrap_or(own);
    of_user(&std::fs::read_to_string("/etc/passwd").unwrap_or_default(), user)
}

/// The home of a user by a list of users as `/etc/passwd` is one; `/` of a user that is not in it.
fn of_user(users: &str, user: u32) -> String {
    let home = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse() == Ok(user);
        fields.nth(2).filter(|home| found && !home.is_empty()).map(str::to_owned)
    };
    users.lines().find_map(home).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_at_home_where_the_list_says() {
        let users = "root:x:0:0:root:/root:/bin/sh\nodd\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:7:7:::";
        for (user, home) in [(0, "/root"), (1000, "/home/ann"), (7, "/"), (8, "/")] {
            assert_eq!(of_user(users, user), home);
        }
    }
}
