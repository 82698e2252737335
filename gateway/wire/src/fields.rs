//! Fields that are a whole integer in network byte order.

/// An integer of a header.
pub(super) trait Field: Copy {
    fn read(bytes: &[u8], at: usize) -> Self;
    fn write(bytes: &mut [u8], at: usize, value: Self);
}

impl Field for u8 {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> u8 {
        bytes[at]
    }

    #[inline]
    fn write(bytes: &mut [u8], at: usize, value: u8) {
        bytes[at] = value;
    }
}

impl Field for u16 {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> u16 {
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    #[inline]
    fn write(bytes: &mut [u8], at: usize, value: u16) {
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

impl Field for u32 {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    #[inline]
    fn write(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

#[inline]
pub(super) fn read<I: Field>(bytes: &[u8], at: usize) -> I {
    I::read(bytes, at)
}

#[inline]
pub(super) fn write<I: Field>(bytes: &mut [u8], at: usize, value: I) {
    I::write(bytes, at, value);
}

/// A getter and a setter for each field of a view: `get, set: type = place;`. The comment is the getter's.
macro_rules! fields {
    ($view:ident: $($(#[$meta:meta])* $get:ident, $set:ident: $int:ty = $at:expr;)+) => {
        impl<T: AsRef<[u8]>> $view<T> {
            $(
                $(#[$meta])*
                #[inline]
                pub fn $get(&self) -> $int {
                    $crate::fields::read(self.0.as_ref(), $at)
                }
            )+
        }

        impl<T: AsRef<[u8]> + AsMut<[u8]>> $view<T> {
            $(
                #[doc = concat!("Sets [`", stringify!($get), "`](", stringify!($view), "::", stringify!($get), ").")]
                #[inline]
                pub fn $set(&mut self, value: $int) {
                    $crate::fields::write(self.0.as_mut(), $at, value);
                }
            )+
        }
    };
}
