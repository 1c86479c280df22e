//! What is set of the node itself, by the names that the kubelet has for it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use orchestra_core::k8s_openapi::api::core::v1::Taint;
use orchestra_core::node::{Config, ImageCollection, Shutdown, Thresholds};
use orchestra_core::quantity::Quantity;

#[derive(Args, Clone, Debug)]
pub(crate) struct Own {
    /// How little may be left of the machine before pods are evicted, with commas between; nothing for never
    #[arg(
        long,
        value_name = "SIGNAL<AMOUNT",
        default_value = "memory.available<100Mi,nodefs.available<10%,imagefs.available<15%,nodefs.inodesFree<5%"
    )]
    eviction_hard: Thresholds,
    /// Labels of the node, with commas between
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    node_labels: Vec<(String, String)>,
    /// Taints of the node when it registers, with commas between
    #[arg(long, value_name = "KEY=VALUE:EFFECT", value_delimiter = ',', value_parser = taint)]
    register_with_taints: Vec<Taint>,
    /// Most pods at a time [default: 110]
    #[arg(long, value_name = "N")]
    max_pods: Option<u32>,
    /// What of the machine is kept from pods for orchestra itself, as cpu=100m,memory=200Mi
    #[arg(long, value_name = "WHAT=AMOUNT", value_delimiter = ',', value_parser = reserved)]
    kube_reserved: Vec<(Kept, u64)>,
    /// What of it is kept from pods for the rest of the system
    #[arg(long, value_name = "WHAT=AMOUNT", value_delimiter = ',', value_parser = reserved)]
    system_reserved: Vec<(Kept, u64)>,
    /// At how many hundredths of its disk the node begins to remove images that no container is of; never at 100
    #[arg(long, value_name = "N", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_high_threshold: u8,
    /// At how many hundredths it ends
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_low_threshold: u8,
    /// An image that came later than this is not removed
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    minimum_image_ttl_duration: Duration,
    /// An image that was not used for so long is removed, however much room there is
    #[arg(long, value_name = "TIME", value_parser = duration)]
    image_maximum_gc_age: Option<Duration>,
    /// End the pods before the node does when it is told to stop, all of them within this time. Without it they run on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    shutdown_grace: Option<Duration>,
    /// How much of that is for the pods that the system needs, which end when all others have
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "shutdown_grace")]
    shutdown_grace_critical: Option<Duration>,
}

impl Own {
    /// Sets this of an agent.
    pub(crate) fn set(&self, config: Config) -> Config {
        let kept = |what: Kept| {
            let all = self.kube_reserved.iter().chain(&self.system_reserved);
            all.filter(|(kept, _)| *kept == what).map(|(_, amount)| amount).sum()
        };
        Config {
            labels: self.node_labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            taints: self.register_with_taints.clone(),
            max_pods: self.max_pods,
            eviction: self.eviction_hard.clone(),
            reserved: (kept(Kept::Processors), kept(Kept::Memory)),
            images: Some(ImageCollection {
                high_percent: self.image_gc_high_threshold,
                low_percent: self.image_gc_low_threshold,
                least_age: self.minimum_image_ttl_duration,
                most_age: self.image_maximum_gc_age,
            }),
            shutdown: self
                .shutdown_grace
                .map(|grace| Shutdown { grace, critical: self.shutdown_grace_critical.unwrap_or_default() }),
            ..config
        }
    }
}

/// What is kept from pods: thousandths of a core, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Processors,
    Memory,
}

fn reserved(text: &str) -> Result<(Kept, u64), String> {
    let wrong = || format!("{text:?} is no amount of cpu or memory, as cpu=100m or memory=200Mi");
    let (what, amount) = text.split_once('=').ok_or_else(wrong)?;
    let amount = Quantity::parse(amount).map_err(|_| wrong())?;
    let (kept, amount) = match what {
        "cpu" => (Kept::Processors, amount.milli_value()),
        "memory" => (Kept::Memory, amount.value()),
        _ => return Err(wrong()),
    };
    u64::try_from(amount).map(|amount| (kept, amount)).map_err(|_| wrong())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not a label as KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Result<Taint, String> {
    let wrong = || format!("{text:?} is not a taint as KEY=VALUE:EFFECT");
    let (rest, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) || rest.is_empty() {
        return Err(wrong());
    }
    let (key, value) = match rest.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (rest, None),
    };
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

/// A length of time such as `10s` or `500ms`, and not none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a length of time such as 10s or 500ms");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        own: Own,
    }

    fn config(line: &[&str]) -> Result<Config, clap::Error> {
        let line = Line::try_parse_from(["node"].iter().chain(line))?;
        Ok(line.own.set(Config::default()))
    }

    #[test]
    fn what_is_said_is_set() {
        let config = config(&[
            "--node-labels=zone=a,disk=ssd",
            "--register-with-taints=gpu=yes:NoSchedule,old:NoExecute",
            "--kube-reserved=cpu=100m,memory=1Gi",
            "--system-reserved=cpu=1",
            "--max-pods=20",
            "--image-gc-high-threshold=100",
            "--shutdown-grace=30s",
            "--shutdown-grace-critical=10s",
        ])
        .unwrap();
        assert_eq!((config.labels["zone"].as_str(), config.labels.len()), ("a", 2));
        let taints: Vec<_> =
            config.taints.iter().map(|one| (one.key.as_str(), one.effect.as_str())).collect();
        assert_eq!(taints, [("gpu", "NoSchedule"), ("old", "NoExecute")]);
        assert_eq!((config.reserved, config.max_pods), ((1100, 1 << 30), Some(20)));
        let images = config.images.unwrap();
        assert_eq!((images.high_percent, images.low_percent), (100, 80));
        let (grace, critical) = (Duration::from_secs(30), Duration::from_secs(10));
        assert_eq!(config.shutdown, Some(Shutdown { grace, critical }));
    }

    #[test]
    fn without_a_word_it_is_as_the_kubelet_has_it() {
        let config = config(&[]).unwrap();
        assert_eq!(config.images, Some(ImageCollection::default()));
        assert_eq!(
            (config.eviction, config.shutdown, config.reserved),
            (Thresholds::default(), None, (0, 0))
        );
        for wrong in [
            "--node-labels=zone",
            "--register-with-taints=gpu:Never",
            "--register-with-taints=:NoSchedule",
            "--kube-reserved=disk=1",
            "--kube-reserved=cpu=-1",
            "--image-gc-low-threshold=101",
            "--shutdown-grace-critical=1s",
        ] {
            assert!(super::tests::config(&[wrong]).is_err(), "{wrong}");
        }
    }
}
