import Diagnostics
import Testing

@testable import Tokenization

struct ChatClockTests {
    @Test func writesEveryDirectiveOfTheCLocale() throws {
        let clock = try ChatClock("2025-03-14T09:26:53")
        let rows = [
            ("%d %b %Y", "14 Mar 2025"), ("%Y-%m-%d %H:%M:%S", "2025-03-14 09:26:53"), ("%A %B", "Friday March"),
            ("%a %h", "Fri Mar"), ("%j", "073"), ("%p %P %I", "AM am 09"), ("%y %C", "25 20"),
            ("%U %W %V %G", "10 10 11 2025"),
            ("%u %w", "5 5"), ("%c", "Fri Mar 14 09:26:53 2025"),
            ("%x %X %D %F %T %R", "03/14/25 09:26:53 03/14/25 2025-03-14 09:26:53 09:26"),
            ("%r", "09:26:53 AM"), ("%e %k %l", "14  9  9"), ("%-d %-m %_H", "14 3  9"), ("%f", "000000"), ("%%", "%"),
            ("%n%t", "\n\t"), ("%z%Z", ""), ("%Q %", "%Q %"), ("", ""), ("é", "é"), ("%^a", "FRI"),
            ("%s", "1741944413"),
        ]
        for (format, expected) in rows { #expect(clock.formatted(format) == expected, "\(format)") }
    }

    @Test func weeksBelongToTheYearOfTheirThursday() throws {
        let rows = [
            ("2024-12-30", "2025-W01 1 52"), ("2021-01-01", "2020-W53 5 00"), ("2020-12-31", "2020-W53 4 52"),
            ("2023-01-01", "2022-W52 7 01"), ("2024-02-29", "2024-W09 4 08"), ("0001-01-01", "1-W01 1 00"),
        ]
        for (date, expected) in rows {
            let week = try ChatClock(date).formatted("%G-W%V %u %U")
            #expect(week == expected, "\(date)")
        }
    }

    @Test(arguments: [
        "", "2025", "2025-3-14", "2025-13-01", "2025-02-29", "2025-00-10", "0000-01-01", "2025-03-14T24:00:00",
        "2025-03-14T09:60:00", "2025-03-14T09:26", "2025-03-14T09:26:53Z", "2025-03-14T", "+025-03-14",
        "2025-03-14T09:26:5٣",
    ])
    func refusesWhatIsNoDate(_ text: String) {
        let error = #expect(throws: Diagnostic.self) { try ChatClock(text) }
        #expect(error?.code.rawValue == "E-TEMPLATE-CLOCK")
    }

    @Test func leapDaysAndTimesOfDayAreRead() throws {
        let clock = try ChatClock("2000-02-29 23:59:59")
        #expect(clock.formatted("%d %H %I %p %j") == "29 23 11 PM 060")
        #expect(try ChatClock("2000-02-29").formatted("%T %I") == "00:00:00 12")
    }
}
