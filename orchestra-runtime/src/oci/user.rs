//! Whom a container runs as: by number, or by a name of the image's own list of users. Pure.

use serde::{Deserialize, Serialize};

/// What is said of it before the image's files are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// What the image says: `user`, `user:group`, each by name or number, or nothing.
    pub(crate) image: String,
    /// What the pod says instead.
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Groups besides.
    pub(crate) groups: Vec<u32>,
    /// No others, whatever the image's list says.
    #[serde(default)]
    pub(crate) strict: bool,
}

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Wanted {
    /// Looks into what the image has as `/etc/passwd` and `/etc/group`.
    pub(crate) fn find(&self, passwd: &str, group: &str) -> Result<Found, String> {
        let (user, own_group) = match self.image.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (self.image.as_str(), None),
        };
        let known = |is: &dyn Fn(&User) -> bool| passwd.lines().filter_map(parsed).find(|user| is(user));
        let (uid, listed) = match (self.uid, user) {
            (Some(uid), _) => (uid, known(&|one| one.uid == uid)),
            (None, "") => (0, known(&|one| one.uid == 0)),
            (None, name) => match (known(&|one| one.name == name), name.parse()) {
                (Some(listed), _) => (listed.uid, Some(listed)),
                (None, Ok(uid)) => (uid, known(&|one| one.uid == uid)),
                (None, Err(_)) => {
                    return Err(format!("unable to find user {name}: no matching entries in passwd file"));
                }
            },
        };
        // The group that the image names goes with the user that it names.
        let gid = match (self.gid, own_group.filter(|_| self.uid.is_none())) {
            (Some(gid), _) => gid,
            (None, Some(name)) => match (number_of(group, name), name.parse()) {
                (Some(gid), _) | (None, Ok(gid)) => gid,
                (None, Err(_)) => {
                    return Err(format!("unable to find group {name}: no matching entries in group file"));
                }
            },
            (None, None) => listed.as_ref().map_or(0, |listed| listed.gid),
        };
        let mut groups = self.groups.clone();
        let lists = listed.iter().filter(|_| !self.strict);
        groups.extend(lists.flat_map(|listed| memberships(group, listed.name)));
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|group| *group != gid);
        let home = listed.map(|listed| listed.home).filter(|home| home.starts_with('/'));
        Ok(Found { uid, gid, groups, home: home.unwrap_or("/").to_owned() })
    }
}

fn parsed(line: &str) -> Option<User<'_>> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: fields.nth(1).unwrap_or("/") })
}

/// The number of a group by its name.
fn number_of(group: &str, name: &str) -> Option<u32> {
    let line = group.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// The groups that list a user.
fn memberships<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().filter_map(move |line| {
        let mut fields = line.split(':').skip(2);
        let number = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == user).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nodd\nann:x:1000:100::/home/ann:/bin/sh\n7:x:9:9::x:\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:root,ann\naudio:x:29:bob,ann\nodd:x\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        for (image, uid, gid, groups, found) in [
            ("", None, None, vec![], Ok((0, 0, vec![10], "/root"))),
            ("ann", None, None, vec![], Ok((1000, 100, vec![10, 29], "/home/ann"))),
            ("1000", None, None, vec![3000, 10], Ok((1000, 100, vec![10, 29, 3000], "/home/ann"))),
            ("ann:audio", None, None, vec![], Ok((1000, 29, vec![10], "/home/ann"))),
            ("ann:5", None, None, vec![], Ok((1000, 5, vec![10, 29], "/home/ann"))),
            ("ann:audio", Some(4), None, vec![], Ok((4, 0, vec![], "/"))),
            ("ann:audio", Some(1000), Some(7), vec![7], Ok((1000, 7, vec![10, 29], "/home/ann"))),
            ("2000", None, None, vec![], Ok((2000, 0, vec![], "/"))),
            ("7", None, None, vec![], Ok((9, 9, vec![], "/"))),
            ("bob", None, None, vec![], Err("unable to find user bob")),
            ("ann:nobody", None, None, vec![], Err("unable to find group nobody")),
        ] {
            let wanted = Wanted { image: image.into(), uid, gid, groups, strict: false };
            match (wanted.find(PASSWD, GROUP), found) {
                (Ok(is), Ok((uid, gid, groups, home))) => {
                    assert_eq!(is, Found { uid, gid, groups, home: home.into() }, "{image}");
                }
                (Err(is), Err(says)) => assert!(is.contains(says), "{is}"),
                (is, expected) => panic!("{image}: {is:?}, and not {expected:?}"),
            }
            if let Ok(found) = (Wanted { strict: true, ..wanted.clone() }).find(PASSWD, GROUP) {
                assert!(found.groups.iter().all(|group| wanted.groups.contains(group)), "{image}");
            }
        }
        assert_eq!(Wanted::default().find("", "").unwrap().home, "/");
    }
}
