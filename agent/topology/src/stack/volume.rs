//! Which volume a disk is.

use quiesced_core::block::{Volume, is_volume_id};

use super::sysfs::Sysfs;
use crate::error::TopologyError;

/// What EBS and instance store call themselves in the NVMe controller's identification (Amazon EBS User Guide, "Map
/// Amazon EBS volumes to NVMe device names").
const EBS: &str = "Amazon Elastic Block Store";
const INSTANCE_STORE: &str = "Amazon EC2 NVMe Instance Storage";

/// Which volume a device is that lies on no other. With NVMe multipath `device` is the subsystem instead of the
/// controller; both have the attributes (drivers/nvme/host/sysfs.c).
pub(super) fn read(sysfs: &Sysfs, device: &str) -> Result<Volume, TopologyError> {
    let attribute = |name: &str| sysfs.text(&format!("class/block/{device}/device/{name}"));
    let model = attribute("model")?.filter(|model| !model.is_empty());
    let device = device.to_owned();
    Ok(match model.as_deref() {
        Some(EBS) => {
            let serial = attribute("serial")?.unwrap_or_default();
            match volume_id(&serial) {
                Some(id) => Volume::Ebs { id, device },
                None => Volume::Unknown {
                    device,
                    why: format!("{serial:?} is no serial number of an EBS volume"),
                },
            }
        }
        Some(INSTANCE_STORE) => Volume::InstanceStore { device },
        Some(other) => Volume::Unknown { device, why: format!("its model is {other}") },
        // The type of a device on Xen's bus (`devtype_show` in drivers/xen/xenbus/xenbus_probe.c).
        None if attribute("devtype")?.as_deref() == Some("vbd") => Volume::Xen { device },
        None => Volume::Unknown { device, why: "it has no model".to_owned() },
    })
}

/// The serial number is the id without its dash.
fn volume_id(serial: &str) -> Option<String> {
    let id = format!("vol-{}", serial.strip_prefix("vol")?);
    is_volume_id(&id).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_serial_number_of_a_volume_is_its_id_without_the_dash(digits in "[0-9a-f]{8}|[0-9a-f]{17}") {
            prop_assert_eq!(volume_id(&format!("vol{digits}")), Some(format!("vol-{digits}")));
        }

        #[test]
        fn no_other_serial_number_becomes_an_id(serial in "(vol)?[-0-9a-gA-G]{0,18}|\\PC*") {
            let id = volume_id(&serial);
            prop_assert!(id.is_none_or(|id| id.replacen('-', "", 1) == serial && id.len() > 11));
        }
    }
}
