//! The records of a group.

use crate::codec::{GROUP_BYTES, GroupHead, Malformed, PayloadCheck, Prefix, RawRecord, Seed};

/// Checks every member of a group; whether some payload is all zeros.
pub(super) fn check_members(
    mut members: &[u8],
    head: &GroupHead,
    seed: Seed,
) -> Result<bool, Malformed> {
    if members.len() != head.bytes as usize {
        return Err(Malformed("group length"));
    }
    let (mut has_zeroed, mut members_crc) = (false, 0);
    for number in 0..u64::from(head.count) {
        let (record, check) = RawRecord::check(members, seed)?;
        if record.prefix.seq != head.first_seq.wrapping_add(number) {
            return Err(Malformed("sequence number"));
        }
        has_zeroed |= check == PayloadCheck::Zeroed;
        members_crc = crc32c::crc32c_append(members_crc, &record.prefix.crc.to_le_bytes());
        members = members.get(record.prefix.len()..).unwrap_or_default();
    }
    if members.is_empty() && members_crc == head.members_crc {
        Ok(has_zeroed)
    } else {
        Err(Malformed("group"))
    }
}

/// Calls `each` with every member of a checked group and its offset from the group's start.
pub(crate) fn for_each_member<'a, E>(
    group: &'a [u8],
    mut each: impl FnMut(usize, &'a [u8], Prefix) -> Result<(), E>,
) -> Result<(), E> {
    let mut offset = GROUP_BYTES;
    while let Some(bytes) = group.get(offset..).filter(|rest| !rest.is_empty()) {
        let Ok(prefix) = Prefix::decode(bytes) else {
            break;
        };
        let Some(record) = bytes.get(..prefix.len()) else {
            break;
        };
        each(offset, record, prefix)?;
        offset += prefix.len();
    }
    Ok(())
}
