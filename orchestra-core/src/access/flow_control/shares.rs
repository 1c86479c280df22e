//! How many seats each level of priority has: by its shares, and by what others do not need. Pure.

/// A target is never smaller: what nobody wants is divided evenly.
const LEAST: f64 = 0.001;
/// How much of what a level wanted before it still counts in each period, as in Kubernetes.
const SMOOTHING: f64 = 0.977;

/// The bounds of a level, in seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Its part of all seats.
    pub(super) nominal: u32,
    /// What it keeps when it lends all that it may.
    pub(super) least: u32,
    /// What it has when it borrows all that it may.
    pub(super) most: u32,
}

/// What the configuration says of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) shares: u32,
    /// The part of its seats that others may use, in percent.
    pub(super) lendable: u32,
    /// How much more than its own it may use, in percent; `None` for as much as there is.
    pub(super) borrowing: Option<u32>,
}

/// The bounds of each level, given all seats of the server.
pub(super) fn bounds(total: u32, levels: &[Shares]) -> Vec<Bounds> {
    let sum: f64 = levels.iter().map(|level| f64::from(level.shares)).sum();
    let of = |level: &Shares| {
        let nominal = if sum > 0.0 { (f64::from(total) * f64::from(level.shares) / sum).ceil() } else { 0.0 };
        let percent = |percent: u32| (nominal * f64::from(percent) / 100.0).round();
        let most =
            level.borrowing.map_or(nominal + f64::from(total), |borrowing| nominal + percent(borrowing));
        Bounds {
            nominal: nominal as u32,
            least: (nominal - percent(level.lendable.min(100))) as u32,
            most: most as u32,
        }
    };
    levels.iter().map(of).collect()
}

/// How many seats a level has wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// The most at any time of the last period.
    pub(super) highest: f64,
    /// What it may want, by the periods before; follows at once when it rises, and slowly when it falls.
    pub(super) smoothed: f64,
}

impl Demand {
    /// What is known after another period, in which the level wanted so much on average, with this deviation.
    pub(super) fn after(self, highest: f64, average: f64, deviation: f64) -> Self {
        let envelope = average + deviation;
        let fading = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope;
        Self { highest, smoothed: envelope.max(fading) }
    }
}

/// The seats of each level that has a limit, for a period. `taken` are those that levels without a limit use.
pub(super) fn divide(total: u32, taken: u32, levels: &[(Bounds, Demand)]) -> Vec<u32> {
    let remaining = f64::from(total) - f64::from(taken);
    let least: Vec<f64> = levels.iter().map(|(bounds, _)| f64::from(bounds.least)).collect();
    let wanted: Vec<f64> = levels
        .iter()
        .map(|(bounds, demand)| demand.highest.min(f64::from(bounds.nominal)).max(f64::from(bounds.least)))
        .collect();
    let (least_sum, wanted_sum): (f64, f64) = (least.iter().sum(), wanted.iter().sum());
    if remaining <= least_sum {
        return least.iter().map(|seats| seats.round() as u32).collect();
    }
    if remaining <= wanted_sum {
        let part = (remaining - least_sum) / (wanted_sum - least_sum);
        let seats = least.iter().zip(&wanted).map(|(least, wanted)| least + (wanted - least) * part);
        return seats.map(|seats| seats.round() as u32).collect();
    }
    let items: Vec<Item> = levels
        .iter()
        .zip(&wanted)
        .map(|((bounds, demand), lower)| Item {
            lower: *lower,
            upper: f64::from(bounds.most).max(*lower),
            target: demand.smoothed.max(*lower).max(LEAST),
        })
        .collect();
    fairly(f64::from(total), &items).into_iter().map(|seats| seats.round() as u32).collect()
}

struct Item {
    lower: f64,
    upper: f64,
    target: f64,
}

impl Item {
    fn at(&self, proportion: f64) -> f64 {
        (self.target * proportion).clamp(self.lower, self.upper)
    }
}

/// Gives each the same proportion of its target, within its bounds, so that all together have `sum`, or as near to it
/// as the bounds allow.
fn fairly(sum: f64, items: &[Item]) -> Vec<f64> {
    let given = |proportion: f64| items.iter().map(|item| item.at(proportion)).sum::<f64>();
    let (mut low, mut high) = (0.0, items.iter().map(|item| item.upper / item.target).fold(0.0, f64::max));
    // What is given grows with the proportion: after this many halvings the two ends are the same number.
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if given(middle) < sum {
            low = middle;
        } else {
            high = middle;
        }
    }
    items.iter().map(|item| item.at(high)).collect()
}
