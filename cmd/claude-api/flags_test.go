package main

import (
	"reflect"
	"testing"
	"time"
)

func TestHowLong(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "12h30m": 12*time.Hour + 30*time.Minute, "30d": 720 * time.Hour, "2w": 336 * time.Hour,
		"2w1d": 360 * time.Hour, "1d12h": 36 * time.Hour, "-1d": -24 * time.Hour, "-1h": -time.Hour,
	} {
		var got howLong
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%s is %v, %v; want %v", text, time.Duration(got), err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "1d2w", "1.5d", "30x", "10001d", "99999999999999999999d", "1d1d", " 1d", "soon"} {
		var got howLong
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %v", text, time.Duration(got))
		}
	}
}

func TestJoinNegative(t *testing.T) {
	for _, tt := range []struct{ args, want []string }{
		{nil, nil},
		{[]string{"a", "--usd", "-5", "b"}, []string{"a", "--usd=-5", "b"}},
		{[]string{"--usd", "-.5", "-q"}, []string{"--usd=-.5", "-q"}},
		{[]string{"--usd=3", "-5"}, []string{"--usd=3", "-5"}},
		{[]string{"--key", "-", "-o", "csv"}, []string{"--key", "-", "-o", "csv"}},
		{[]string{"--name", "--force"}, []string{"--name", "--force"}},
		{[]string{"--", "--usd", "-5"}, []string{"--", "--usd", "-5"}},
		{[]string{"--usd"}, []string{"--usd"}},
	} {
		if got := joinNegative(tt.args); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q becomes %q, want %q", tt.args, got, tt.want)
		}
	}
}
