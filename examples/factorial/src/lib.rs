//! The factorial of 0 to 20: 21! does not fit 64 bits. A core module without a world: numbers need none.

/// The product of all numbers from 1 to `number`.
#[unsafe(no_mangle)]
pub extern "C" fn factorial(number: i64) -> i64 {
    assert!(
        (0..=20).contains(&number),
        "the factorial of 0 to 20 fits 64 bits"
    );
    (1..=number).product()
}

#[cfg(test)]
mod tests {
    #[test]
    fn six_has_720() {
        assert_eq!(super::factorial(6), 720);
        assert_eq!(super::factorial(20), 2_432_902_008_176_640_000);
    }
}
