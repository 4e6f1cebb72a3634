//! Values that documentation, registries and payment providers' test modes use, and that are nobody's.

/// Test cards of payment providers (Stripe, Adyen, PayPal, Braintree).
const CARDS: [&[u8]; 32] = [
    b"4111111111111111",
    b"4242424242424242",
    b"4012888888881881",
    b"4000056655665556",
    b"4000002500003155",
    b"4000000000000002",
    b"4000000000009995",
    b"4000000000003220",
    b"4000002760003184",
    b"4222222222222",
    b"4917610000000000",
    b"4988438843884305",
    b"4166676667666746",
    b"4646464646464644",
    b"5555555555554444",
    b"5105105105105100",
    b"5200828282828210",
    b"5454545454545454",
    b"5555341244441115",
    b"5577000055770004",
    b"2223003122003222",
    b"2222400070000005",
    b"378282246310005",
    b"371449635398431",
    b"370000000000002",
    b"6011111111111117",
    b"6011000990139424",
    b"3056930009020004",
    b"36227206271667",
    b"3566002020360505",
    b"3530111333300000",
    b"6200000000000005",
];
const CARDS_TOO: [&[u8]; 6] = [
    b"38520000023237",
    b"30569309025904",
    b"6759649826438453",
    b"6555900000604105",
    b"4532015112830366",
    b"4539578763621486",
];

/// The examples of SWIFT's registry and of Wikipedia.
const IBANS: [&[u8]; 40] = [
    b"GB82WEST12345698765432",
    b"GB29NWBK60161331926819",
    b"GB33BUKB20201555555555",
    b"DE89370400440532013000",
    b"FR1420041010050500013M02606",
    b"NL91ABNA0417164300",
    b"CH9300762011623852957",
    b"ES9121000418450200051332",
    b"IT60X0542811101000000123456",
    b"BE68539007547034",
    b"AT611904300234573201",
    b"PL61109010140000071219812874",
    b"SE4550000000058398257466",
    b"NO9386011117947",
    b"DK5000400440116243",
    b"FI2112345600000785",
    b"PT50000201231234567890154",
    b"IE29AIBK93115212345678",
    b"LU280019400644750000",
    b"TR330006100519786457841326",
    b"GR1601101250000000012300695",
    b"CZ6508000000192000145399",
    b"HU42117730161111101800000000",
    b"RO49AAAA1B31007593840000",
    b"BR1800360305000010009795493C1",
    b"SA0380000000608010167519",
    b"AE070331234567890123456",
    b"IL620108000000099999999",
    b"HR1210010051863000160",
    b"SK3112000000198742637541",
    b"SI56263300012039086",
    b"LT121000011101001000",
    b"LV80BANK0000435195001",
    b"EE382200221020145685",
    b"BG80BNBG96611020345678",
    b"UA213223130000026007233566001",
    b"KZ86125KZT5004100100",
    b"MT84MALT011000012345MTLCAST001S",
    b"IS140159260076545510730339",
    b"CY17002001280000001200527600",
];

/// Ids of documentation.
const IDS: [&[u8]; 24] = [
    b"000000000",
    b"123456789",
    b"078051120",
    b"219099999",
    b"457555462",
    b"987654320",
    b"111222333",
    b"123456782",
    b"12345678Z",
    b"X1234567L",
    b"RSSMRA80A01H501U",
    b"11010519491231002X",
    b"255081416802538",
    b"44051401359",
    b"02070803628",
    b"11144477735",
    b"12345678909",
    b"11222333000181",
    b"7569217076985",
    b"131052A308T",
    b"85073003328",
    b"8112189876",
    b"12345678911",
    b"86095742719",
];

pub(super) fn is_card(digits: &[u8]) -> bool {
    CARDS.iter().chain(&CARDS_TOO).any(|known| *known == digits)
}

pub(super) fn is_iban(letters: &[u8]) -> bool {
    IBANS.contains(&letters)
}

pub(super) fn is_id(letters: &[u8]) -> bool {
    IDS.contains(&letters)
}

/// A key that says that it is none, or whose letters stand in the order of the alphabet.
pub(super) fn is_secret(key: &[u8]) -> bool {
    let says = |word: &[u8]| memchr::memmem::find(key, word).is_some();
    // The token that jwt.io shows, and those made from it.
    let shown = says(b"eyJzdWIiOiIxMjM0NTY3ODkwIi");
    shown || says(b"EXAMPLE") || says(b"example") || says(b"Example") || is_in_order(key)
}

/// Eight letters or digits in a row, each the next one's neighbour.
fn is_in_order(key: &[u8]) -> bool {
    let mut run = 1;
    key.windows(2).any(|pair| {
        run = if pair[1] == pair[0].wrapping_add(1) {
            run + 1
        } else {
            1
        };
        run >= 8
    })
}
