//! Plugins that register as with a kubelet, and what becomes of their devices.
#![cfg(feature = "device-plugins")]

use std::path::Path;

use orchestra_core::node::{Choice, DeviceError, DevicePlugins as _, Devices};
use orchestra_core::testing::until;
use orchestra_runtime::host::DevicePlugins;

#[path = "support/plugin.rs"]
mod plugin;

use plugin::{Given, Mount, Node, Plugin, RegisterRequest, register};

const DONGLE: &str = "example.com/dongle";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until the socket is there.
async fn served(folder: &Path) -> DevicePlugins {
    let plugins = DevicePlugins::serve(folder);
    until("the socket is there", PATIENCE, async || folder.join("kubelet.sock").exists().then_some(())).await;
    plugins
}

async fn shows(plugins: &DevicePlugins, healthy: &[&str], unhealthy: &[&str]) {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected = Devices { healthy: set(healthy), unhealthy: set(unhealthy) };
    until(format_args!("{expected:?}"), PATIENCE, async || {
        (plugins.resources().get(DONGLE) == Some(&expected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn devices_come_change_and_go_with_their_plugin() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("device-plugins");
    let plugins = served(&folder).await;
    assert!(plugins.resources().is_empty());
    let given = Given {
        mounts: vec![Mount { container_path: "/lib/d".into(), host_path: "/opt/d".into(), read_only: true }],
        devices: vec![Node {
            container_path: "/dev/d".into(),
            host_path: "/dev/null".into(),
            permissions: "rw".into(),
        }],
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        ..Given::default()
    };
    let plugin = Plugin::serve(&folder, DONGLE, &["a", "b", "c"], given).await;
    shows(&plugins, &["a", "b", "c"], &[]).await;
    plugins.changed().await;
    plugin.set(&[("a", true), ("b", false)]);
    plugins.changed().await;
    shows(&plugins, &["a"], &["b"]).await;

    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let choice = Choice { available: names(&["a", "b", "c"]), must_include: names(&["c"]), size: 2 };
    assert_eq!(plugins.preferred(DONGLE, &choice).await.unwrap(), ["c", "b"]);
    let given = plugins.allocate(DONGLE, &names(&["a", "b"])).await.unwrap();
    assert_eq!(given.env["DEVICES"], "a,b");
    assert_eq!((given.mounts[0].host_path.as_path(), given.mounts[0].read_only), (Path::new("/opt/d"), true));
    assert_eq!(
        (given.devices[0].container_path.as_str(), given.devices[0].permissions.as_str()),
        ("/dev/d", "rw")
    );
    assert_eq!(given.annotations["a"], "b");
    plugins.pre_start(DONGLE, &names(&["a", "b"])).await.unwrap();
    assert_eq!(plugin.asked(), ["prefer 2 of a b c with c", "allocate a b", "start a b"]);

    // One that has gone leaves devices that nobody can have; one that comes back, its own.
    drop(plugin);
    shows(&plugins, &[], &["a", "b"]).await;
    let refused = plugins.allocate(DONGLE, &names(&["a"])).await.unwrap_err();
    assert!(matches!(refused, DeviceError::Gone { .. }), "{refused:?}");
    plugins.pre_start(DONGLE, &names(&["a"])).await.unwrap();
    let plugin = Plugin::serve(&folder, DONGLE, &["d"], Given::default()).await;
    shows(&plugins, &["d"], &[]).await;
    // It registers again, and the connection before counts no more.
    plugin.register().await.unwrap();
    plugin.set(&[("e", true)]);
    shows(&plugins, &["e"], &[]).await;
    drop(plugins);
    until("the socket is gone", PATIENCE, async || (!folder.join("kubelet.sock").exists()).then_some(()))
        .await;
}

#[tokio::test]
async fn what_no_kubelet_would_take_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let plugins = served(place.path()).await;
    let request = |version: &str, name: &str, endpoint: &str| RegisterRequest {
        version: version.into(),
        endpoint: endpoint.into(),
        resource_name: name.into(),
        options: None,
    };
    for (request, why) in [
        (request("v1", DONGLE, "a.sock"), "requested API version \"v1\" is not supported"),
        (request("v1beta1", "dongle", "a.sock"), "the ResourceName \"dongle\" is invalid"),
        (request("v1beta1", DONGLE, "../a.sock"), "is not the name of a socket"),
    ] {
        let refused = register(place.path(), request).await.unwrap_err();
        assert!(refused.message().contains(why), "{refused:?}");
    }
    assert!(plugins.resources().is_empty());
}

/// Whoever comes next makes the socket anew, by which plugins know that they have to register, and knows what was there.
#[tokio::test]
async fn two_do_not_serve_one_folder() {
    let place = tempfile::tempdir().unwrap();
    let first = served(place.path()).await;
    let plugin = Plugin::serve(place.path(), DONGLE, &["a"], Given::default()).await;
    shows(&first, &["a"], &[]).await;
    let second = DevicePlugins::serve(place.path());
    plugin.register().await.unwrap();
    shows(&first, &["a"], &[]).await;
    assert!(second.resources().is_empty(), "{:?}", second.resources());
    drop(first);
    shows(&second, &[], &[]).await;
    assert!(!place.path().join("plugin.sock").exists(), "plugins look for that too");
    let _plugin = Plugin::serve(place.path(), DONGLE, &["b"], Given::default()).await;
    shows(&second, &["b"], &[]).await;
}

/// Sockets are removed of a folder that is the plugins' alone.
#[tokio::test]
async fn a_folder_of_others_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("other.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::write(place.path().join("file"), "").unwrap();
    let plugins = DevicePlugins::serve(place.path());
    tokio::task::yield_now().await;
    assert!(socket.exists() && !place.path().join("kubelet.sock").exists());
    assert!(plugins.resources().is_empty());
    drop(plugins);
    std::fs::remove_file(place.path().join("file")).unwrap();
    std::fs::write(place.path().join("kubelet_internal_checkpoint"), "").unwrap();
    let _plugins = served(place.path()).await;
    assert!(!socket.exists());
}
