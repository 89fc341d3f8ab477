package budget

import (
	"math"
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string, zone *time.Location) time.Time {
		moment, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	tests := []struct {
		name       string
		period     Period
		now        time.Time
		start, end string
	}{
		{"a day", Day, at("2026-11-24 13:00", time.UTC), "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"a week begins on Monday", Week, at("2026-11-29 23:59", time.UTC), "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"a Monday begins its week", Week, at("2026-11-23 00:00", time.UTC), "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"a month", Month, at("2026-12-31 10:00", time.UTC), "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"another zone", Day, at("2026-11-24 23:30", time.UTC).In(berlin), "2026-11-25T00:00:00+01:00", "2026-11-26T00:00:00+01:00"},
		{"a day of 25 hours", Day, at("2026-10-25 12:00", berlin), "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"a month with a change of clocks", Month, at("2026-03-30 12:00", berlin), "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"},
		{"all time", Total, at("2026-11-24 13:00", berlin), "1970-01-01T00:00:00Z", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.period.Start(test.now).Format(time.RFC3339); got != test.start {
				t.Errorf("start = %s, want %s", got, test.start)
			}
			end, ends := test.period.End(test.now)
			if ends != (test.end != "") || ends && end.Format(time.RFC3339) != test.end {
				t.Errorf("end = %v, %t, want %s", end, ends, test.end)
			}
		})
	}
	// Where clocks are put forward at midnight a day begins at 01:00, and the moment at
	// which it begins is in it.
	for _, zone := range []string{"America/Santiago", "America/Asuncion", "Africa/Cairo", "Asia/Beirut", "America/Havana"} {
		l, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for noon := at("2016-01-01 12:00", l); noon.Year() < 2028; noon = noon.AddDate(0, 0, 1) {
			for _, p := range Periods[:3] {
				start := p.Start(noon)
				end, _ := p.End(noon)
				same, _ := p.End(start)
				if start.After(noon) || !end.After(noon) || !p.Start(start).Equal(start) || !same.Equal(end) ||
					!p.Start(end.Add(-1)).Equal(start) || !p.Start(end).Equal(end) {
					t.Fatalf("%s: the %s of %v is from %v to %v, or %v", zone, p, noon, start, end, same)
				}
			}
		}
	}
	for _, p := range Periods {
		if !p.Known() {
			t.Errorf("%s isn't known", p)
		}
	}
	if Period("year").Known() {
		t.Error("a year is known")
	}
}

func TestPercent(t *testing.T) {
	for _, tt := range []struct {
		n       int64
		percent int
		want    int64
	}{
		{1000, 80, 800}, {0, 80, 0}, {1000, 0, 0}, {1, 80, 1}, {199, 50, 99}, {math.MaxInt64, 100, math.MaxInt64}, {-5, 80, 0},
	} {
		if got := Percent(tt.n, tt.percent); got != tt.want {
			t.Errorf("%d %% of %d is %d, want %d", tt.percent, tt.n, got, tt.want)
		}
	}
}
