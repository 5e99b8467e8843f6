//! The sliding window of request numbers: each is accepted once.

/// Requests that may overtake each other before the oldest is refused.
const WIDTH: u64 = 1024;

/// Numbers seen, as a ring of bits behind the highest one.
#[derive(Debug, Clone)]
pub struct Window {
    /// One above the highest number seen; 0 when none was.
    next: u64,
    bits: [u64; (WIDTH / 64) as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { next: 0, bits: [0; (WIDTH / 64) as usize] }
    }
}

impl Window {
    /// Has any number been accepted?
    pub fn is_fresh(&self) -> bool {
        self.next == 0
    }

    /// Accepts a number once. False: seen before, or too far behind to tell.
    pub fn accept(&mut self, number: u64) -> bool {
        let Some(above) = number.checked_add(1) else { return false };
        if number >= self.next {
            if number - self.next >= WIDTH {
                self.bits = [0; (WIDTH / 64) as usize];
            } else {
                for skipped in self.next..=number {
                    self.set(skipped, false);
                }
            }
            self.next = above;
        } else if self.next - number > WIDTH || self.get(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn get(&self, number: u64) -> bool {
        let at = number % WIDTH;
        self.bits.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn set(&mut self, number: u64, value: bool) {
        let at = number % WIDTH;
        if let Some(word) = self.bits.get_mut((at / 64) as usize) {
            *word = *word & !(1 << (at % 64)) | u64::from(value) << (at % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_number_is_accepted_once_and_late_ones_never(
            numbers in prop::collection::vec(0u64..5000, 1..300),
        ) {
            let mut window = Window::default();
            let mut seen = std::collections::HashSet::new();
            let mut highest: Option<u64> = None;
            for number in numbers {
                let late = highest.is_some_and(|highest| number + WIDTH <= highest);
                let expected = !late && !seen.contains(&number);
                prop_assert_eq!(window.accept(number), expected);
                seen.insert(number);
                highest = highest.max(Some(number));
            }
        }
    }

    #[test]
    fn the_last_number_of_all_does_not_wrap() {
        let mut window = Window::default();
        assert!(window.is_fresh());
        assert!(!window.accept(u64::MAX));
        assert!(window.accept(u64::MAX - 1));
        assert!(!window.accept(0));
    }
}
