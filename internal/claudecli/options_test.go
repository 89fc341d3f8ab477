package claudecli

import (
	"testing"
	"time"
)

// Without a base URL the CLI may wait for api.anthropic.com before it answers.
func TestStartTimeouts(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    time.Duration
	}{
		{Options{BaseURL: "http://127.0.0.1:1"}, DefaultStartTimeout},
		{Options{}, AwayStartTimeout},
		{Options{StartTimeout: time.Second}, time.Second},
	} {
		test.options.setDefaults()
		if got := test.options.StartTimeout; got != test.want {
			t.Errorf("%q: %v, want %v", test.options.BaseURL, got, test.want)
		}
	}
}
