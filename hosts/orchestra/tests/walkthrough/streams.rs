//! Stepping into containers that really run: processes of this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Kubectl, Up};

/// One that says what it reads, and one that serves the files of a folder.
fn pods(folder: &Path) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: reader}}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: main
    image: none
    stdin: true
    stdinOnce: true
    command: [/bin/sh, -c, "while read line; do echo got $line; done; echo ended; exit 3"]
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: none
    command: [/bin/busybox, httpd, -f, -p, "8080", -h, {folder:?}]
    ports: [{{containerPort: 8080}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: upgrades}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: none
    # Agrees to another protocol, and says what it hears.
    command:
    - /bin/sh
    - -c
    - |
      cat >{folder:?}/upgrade <<'END'
      #!/bin/sh
      while read -r line && [ ${{#line}} -gt 1 ]; do :; done
      printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'
      exec /bin/busybox cat
      END
      chmod +x {folder:?}/upgrade
      exec /bin/busybox nc -ll -p 8081 -e {folder:?}/upgrade
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
    )
}

/// Runs a story for each `kubectl`, which speak SPDY, WebSockets, or first one and then the other.
fn on_each(story: fn(&Kubectl, &Up)) {
    if !Path::new("/bin/busybox").exists() {
        assert!(std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_none(), "there is no busybox");
        return eprintln!("left out: there is no busybox");
    }
    let versions = Kubectl::versions();
    if versions.is_empty() {
        assert!(std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_none(), "there is no kubectl");
        return eprintln!("left out: there is no kubectl");
    }
    let up = Up::start(&["--runtime", "process"]);
    for program in versions {
        let kubectl = Kubectl::new(&program, &up);
        kubectl.apply(&pods(up.directory.path()));
        kubectl.ok("wait --for=condition=Ready pod/web pod/reader pod/upgrades --timeout=60s");
        story(&kubectl, &up);
        kubectl.ok("delete pod/web pod/reader pod/upgrades --grace-period=0 --force");
    }
}

#[test]
fn commands_have_streams_and_codes() {
    on_each(|kubectl, up| {
        let said = kubectl.run("exec web -- sh -c 'echo out; echo err >&2; exit 7'");
        assert_eq!((said.code, said.out.as_str()), (Some(7), "out\n"), "{}", said.err);
        assert!(said.err.starts_with("err\n") && said.err.contains("exit code 7"), "{}", said.err);
        assert!(!kubectl.ok("exec web -- sh -c 'echo $POD_IP'").trim().is_empty());
        // More than fits into all pipes on the way, and its end.
        let much = "0123456789abcdef\n".repeat(200_000);
        let said = kubectl.with_input("exec -i web -- cat", &much);
        assert!(said.success && said.out == much, "{} of {} bytes", said.out.len(), much.len());
        assert!(
            kubectl.fails("exec web -c other -- true").contains("container other is not valid for pod web")
        );
        assert!(kubectl.fails("exec nobody -- true").contains("\"nobody\" not found"));
        let none = kubectl.run("exec web -- no-such-program");
        assert!(!none.success && none.err.contains("no-such-program"), "{}", none.err);

        // Both ways, as `kubectl cp` does it with `tar`.
        let folder = up.directory.path().join("copied");
        std::fs::create_dir_all(&folder).unwrap();
        let (here, there, back) = (folder.join("here"), folder.join("there"), folder.join("back"));
        std::fs::write(&here, &much).unwrap();
        kubectl.ok(&format!("cp {} web:{}", here.display(), there.display()));
        kubectl.ok(&format!("cp web:{} {}", there.display(), back.display()));
        assert!(std::fs::read(&back).unwrap() == much.as_bytes());
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn who_attaches_writes_and_reads_until_the_container_ends() {
    on_each(|kubectl, _| {
        let said = kubectl.with_input("attach -i reader", "one\ntwo\n");
        assert!(
            said.out.contains("got one\ngot two\n") && said.out.contains("ended"),
            "{}{}",
            said.out,
            said.err
        );
        kubectl.until("get pod reader -o jsonpath={.status.phase}", |phase| phase == "Failed");
        assert!(kubectl.ok("logs reader").ends_with("got two\nended\n"));

        let run = "run brief --image=none --restart=Never --rm -i --command -- sh -c 'read a; echo read $a'";
        let said = kubectl.with_input(run, "hello\n");
        assert!(said.success && said.out.contains("read hello"), "{}{}", said.out, said.err);
        assert!(kubectl.fails("get pod brief").contains("not found"));
    });
}

#[test]
fn ports_are_forwarded() {
    on_each(|kubectl, up| {
        let much: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        std::fs::write(up.directory.path().join("much"), &much).unwrap();
        for target in ["pod/web :8080", "service/web :80"] {
            let mut forwarding = kubectl
                .command(&format!("port-forward {target}"))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines().map_while(Result::ok);
            let port = lines.by_ref().find_map(|line| {
                line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse::<u16>().ok()
            });
            let port = port.expect("it says where it listens");
            std::thread::spawn(move || lines.for_each(drop));
            let get = move || {
                let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
                connection.write_all(b"GET /much HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = Vec::new();
                connection.read_to_end(&mut answer).unwrap();
                answer
            };
            // Several at a time by one connection to the server.
            let answers: Vec<_> = (0..8).map(|_| std::thread::spawn(get)).collect();
            for answer in answers {
                let answer = answer.join().unwrap();
                assert!(answer.ends_with(&much), "{target}: {} bytes", answer.len());
            }
            let _ = std::process::Command::new("kill").arg(forwarding.id().to_string()).status();
            let _ = forwarding.wait();
        }
        let mut refused = kubectl
            .command("port-forward pod/web :81")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(refused.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.next().unwrap();
        let port: u16 =
            first.split(':').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        let _ = TcpStream::connect(("127.0.0.1", port)).unwrap().read(&mut [0]);
        let mut errors = BufReader::new(refused.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(errors.any(|line| line.contains("error forwarding port 81 to pod web")));
        let _ = refused.kill();
        let _ = refused.wait();
    });
}

#[test]
fn requests_are_passed_on_to_pods_services_and_nodes() {
    use std::os::unix::fs::PermissionsExt;
    on_each(|kubectl, up| {
        let folder = up.directory.path();
        std::fs::write(folder.join("words"), "good morning").unwrap();
        std::fs::create_dir_all(folder.join("cgi-bin")).unwrap();
        let script = folder.join("cgi-bin/say");
        std::fs::write(
            &script,
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'; /bin/busybox cat\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let at = |below: &str| format!("/api/v1/namespaces/default/{below}");
        for below in ["pods/web:8080", "pods/web", "services/web:80", "services/web", "services/http:web:80"]
        {
            let path = at(&format!("{below}/proxy/words"));
            assert_eq!(kubectl.until(&format!("get --raw {path}"), |_| true), "good morning", "{path}");
        }
        for (below, refusal) in [
            ("services/web:81/proxy/", "no service port 81 found for service \"web\""),
            ("services/none/proxy/", "no endpoints available for service \"none\""),
            ("pods/ftp:web:1/proxy/", "invalid pod request \"ftp:web:1\""),
            ("pods/web:82/proxy/", ""),
        ] {
            let said = kubectl.fails(&format!("get --raw {}", at(below)));
            assert!(said.contains(refusal), "{below}: {said}");
        }
        // The links of a page lead through it too, and so does a path without its end.
        std::fs::write(folder.join("index.html"), "<a href=\"/words\">words</a>").unwrap();
        let page = kubectl.ok(&format!("get --raw {}", at("pods/web/proxy")));
        assert_eq!(page, format!("<a href=\"{}\">words</a>", at("pods/web/proxy/words")));
        assert_eq!(kubectl.ok("get --raw /api/v1/nodes/local/proxy/healthz"), "ok");
        assert!(
            kubectl
                .ok("get --raw /api/v1/nodes/local/proxy/stats/summary")
                .contains("\"nodeName\":\"local\"")
        );
        through_kubectl(kubectl, &at("pods/web/proxy/cgi-bin/say"), &at("pods/upgrades:8081/proxy/"));
    });
}

/// Through `kubectl proxy`, which passes large bodies on, and upgrades.
fn through_kubectl(kubectl: &Kubectl, says: &str, upgrades: &str) {
    let mut proxy =
        kubectl.command("proxy --port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| Some(line.strip_prefix("Starting to serve on ")?.trim().to_owned()));
    let address = address.expect("it says where it listens");
    let connect = || {
        let connection = TcpStream::connect(&address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        connection
    };
    // More than an object may have.
    let much = "0123456789abcdef\n".repeat(300_000);
    let mut connection = connect();
    let mut writer = connection.try_clone().unwrap();
    let asked = format!(
        "POST {says} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{much}",
        much.len()
    );
    let writing = std::thread::spawn(move || writer.write_all(asked.as_bytes()));
    let mut said = Vec::new();
    connection.read_to_end(&mut said).unwrap();
    writing.join().unwrap().unwrap();
    let said = String::from_utf8(said).unwrap();
    let lines = said.lines().filter(|line| *line == "0123456789abcdef").count();
    assert!(said.starts_with("HTTP/1.1 200 ") && lines > 299_000, "{lines} lines of {} bytes", said.len());

    let mut connection = connect();
    let head =
        format!("GET {upgrades} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(reader.read_until(b'\n', &mut head).unwrap() > 0, "{}", String::from_utf8_lossy(&head));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for word in ["one\n", "two\n"] {
        connection.write_all(word.as_bytes()).unwrap();
        let mut said = String::new();
        reader.read_line(&mut said).unwrap();
        assert_eq!(said, word);
    }
    let _ = std::process::Command::new("kill").arg(proxy.id().to_string()).status();
    let _ = proxy.wait();
}

/// Many sessions at once, of which clients go in every way: none of their commands is left, and none of the helpers.
#[test]
fn sessions_leave_nothing_behind() {
    on_each(|kubectl, _| {
        let mark = format!("98765{}", std::process::id());
        let sessions: Vec<_> = (0..20)
            .map(|_| {
                let mut child = kubectl
                    .command(&format!("exec -i web -- sh -c 'echo ready; sleep {mark}'"))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                let line = BufReader::new(child.stdout.take().unwrap()).lines().next();
                assert_eq!(line.unwrap().unwrap(), "ready");
                child
            })
            .collect();
        assert!(running(&mark) >= 20);
        for (number, mut session) in sessions.into_iter().enumerate() {
            let signal = if number % 2 == 0 { "-KILL" } else { "-TERM" };
            // `timeout` is what was started, and `kubectl` its child.
            let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", session.id()));
            for id in [child.unwrap().trim(), &session.id().to_string()] {
                let _ = std::process::Command::new("kill").args([signal, id]).stderr(Stdio::null()).status();
            }
            let _ = session.wait();
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while running(&mark) > 0 {
            assert!(Instant::now() < deadline, "{} commands were left", running(&mark));
            std::thread::yield_now();
        }
        assert_eq!(kubectl.ok("exec web -- echo alive"), "alive\n");
    });
}

/// How many processes have a word among their arguments.
fn running(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(word)).count()
}
