//! Volumes and Services that nothing uses.

use usage::{Service, Volume};

/// Below this share of its size a mounted volume counts as oversized (facts of the idle rule: 20 %).
pub const OVERSIZED_SHARE: f64 = 0.2;
/// A smaller volume keeps room for its largest fill to double.
pub const GROWTH_ROOM: f64 = 2.0;
/// Fewest measurements of a volume's fill to judge by: four days of one an hour.
pub const MIN_FILL_SAMPLES: usize = 96;
const GIB: f64 = 1_073_741_824.0;

/// What is wrong with a volume.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VolumeFinding {
    /// No pod mounted it for the idle time; what it would save, in bytes.
    Unmounted {
        /// Claimed bytes.
        bytes: f64,
    },
    /// It is mounted, but mostly empty.
    Oversized {
        /// Claimed bytes.
        bytes: f64,
        /// Largest fill in bytes.
        peak: f64,
        /// Bytes that would do, whole gibibytes.
        enough: f64,
    },
}

/// Judges a claim. `mounts_known` says whether any mount was reported in the namespace: without
/// one, an unmounted claim cannot be told from a missing metric.
pub fn judge_volume(volume: &Volume, idle_from: i64, mounts_known: bool) -> Option<VolumeFinding> {
    let bytes = volume.requested.filter(|bytes| *bytes > 0.0)?;
    if volume.last_mounted.is_none_or(|at| at <= idle_from) {
        return mounts_known.then_some(VolumeFinding::Unmounted { bytes });
    }
    let peak = volume.used.iter().map(|s| s.value).fold(0.0, f64::max);
    let enough = (peak * GROWTH_ROOM / GIB).ceil().max(1.0) * GIB;
    let is_oversized =
        volume.used.len() >= MIN_FILL_SAMPLES && peak < bytes * OVERSIZED_SHARE && enough < bytes;
    is_oversized.then_some(VolumeFinding::Oversized {
        bytes,
        peak,
        enough,
    })
}

/// Whether a Service had no endpoint for the idle time, as far as endpoints are reported.
pub fn is_unused_service(service: &Service, idle_from: i64) -> bool {
    service.endpoints_known
        && service.service_type != "ExternalName"
        && service.last_endpoint.is_none_or(|at| at <= idle_from)
}

#[cfg(test)]
mod tests {
    use usage::Sample;

    use super::*;

    fn volume(last_mounted: Option<i64>, fill: f64, samples: i64) -> Volume {
        let used = (0..samples)
            .map(|i| Sample {
                at: i,
                value: fill * GIB,
            })
            .collect();
        Volume {
            claim: "data".into(),
            requested: Some(100.0 * GIB),
            last_mounted,
            used,
        }
    }

    #[test]
    fn a_volume_is_unused_when_nothing_mounted_it_since() {
        let unmounted = Some(VolumeFinding::Unmounted { bytes: 100.0 * GIB });
        assert_eq!(judge_volume(&volume(None, 0.0, 0), 1000, true), unmounted);
        assert_eq!(
            judge_volume(&volume(Some(1000), 0.0, 0), 1000, true),
            unmounted
        );
        assert_eq!(
            judge_volume(&volume(Some(1001), 50.0, 200), 1000, true),
            None
        );
        assert_eq!(judge_volume(&volume(None, 0.0, 0), 1000, false), None);
    }

    #[test]
    fn a_mounted_volume_below_a_fifth_is_oversized() {
        let judge = |fill, samples| judge_volume(&volume(Some(2000), fill, samples), 1000, true);
        let oversized = VolumeFinding::Oversized {
            bytes: 100.0 * GIB,
            peak: 19.9 * GIB,
            enough: 40.0 * GIB,
        };
        assert_eq!(judge(19.9, 96), Some(oversized));
        assert_eq!(judge(20.0, 96), None);
        assert_eq!(judge(19.9, 95), None);
    }

    #[test]
    fn a_service_is_judged_only_when_endpoints_are_reported() {
        let service = |service_type: &str, last_endpoint, endpoints_known| Service {
            name: "web".into(),
            service_type: service_type.into(),
            last_endpoint,
            endpoints_known,
        };
        assert!(is_unused_service(
            &service("LoadBalancer", None, true),
            1000
        ));
        assert!(is_unused_service(
            &service("ClusterIP", Some(1000), true),
            1000
        ));
        assert!(!is_unused_service(
            &service("ClusterIP", Some(1001), true),
            1000
        ));
        assert!(!is_unused_service(&service("ClusterIP", None, false), 1000));
        assert!(!is_unused_service(
            &service("ExternalName", None, true),
            1000
        ));
    }
}
