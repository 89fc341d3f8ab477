package main

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestMoney(t *testing.T) {
	for _, tt := range []struct {
		text, full, short string
		micros            usd
	}{
		{"0", "0.000000", "0.00", 0},
		{"12.50", "12.500000", "12.50", 12_500_000},
		{"12.5", "12.500000", "12.50", 12_500_000},
		{"0.000001", "0.000001", "0.000001", 1},
		{"0.1", "0.100000", "0.10", 100_000},
		{"007.120", "7.120000", "7.12", 7_120_000},
		{"9223372036854.775807", "9223372036854.775807", "9223372036854.775807", math.MaxInt64},
	} {
		var got usd
		if err := got.UnmarshalText([]byte(tt.text)); err != nil || got != tt.micros {
			t.Errorf("%s is %d, %v; want %d", tt.text, got, err, tt.micros)
		}
		if got.String() != tt.full || got.short() != tt.short {
			t.Errorf("%d is written %s and %s, want %s and %s", got, got, got.short(), tt.full, tt.short)
		}
	}
	for _, text := range []string{"", ".", ".5", "5.", "-1", "+1", "1e3", "1,5", "$1", " 1", "1.0000001", "0x1", "1.-5", "9223372036854.775808", "١"} {
		var got usd
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
	if got := usd(math.MinInt64).String(); got != "-9223372036854.775808" {
		t.Errorf("the smallest amount is %s", got)
	}
}

// Whatever is written is read again as it was.
func TestMoneyIsReadAsItIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := usd(rapid.Int64Min(0).Draw(t, "micros"))
		for _, text := range []string{n.String(), n.short()} {
			var got usd
			if err := got.UnmarshalText([]byte(text)); err != nil || got != n {
				t.Errorf("%d is written %s and read %d, %v", int64(n), text, int64(got), err)
			}
		}
	})
}
