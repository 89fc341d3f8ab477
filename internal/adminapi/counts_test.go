package adminapi

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/usage"
)

// TestWhatTookLongIsToldAgain counts a ledger that takes a second.
func TestWhatTookLongIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counts
		asked, failing := 0, error(nil)
		count := func() ([]usage.Outcome, error) {
			asked++
			time.Sleep(time.Second)
			return []usage.Outcome{{Name: "a", Count: usage.Count{Rows: int64(asked)}}}, failing
		}
		told := func(name string, want int64) {
			t.Helper()
			if got, err := c.of(name, count); err != nil || got[0].Rows != want {
				t.Errorf("%+v, %v; want count %d", got, err, want)
			}
		}
		told("day", 1)
		time.Sleep(19 * time.Second)
		told("day", 1)
		told("week", 2)
		time.Sleep(time.Second)
		told("day", 3)
		time.Sleep(21 * time.Second)
		failing = errors.New("the disk")
		if _, err := c.of("day", count); !errors.Is(err, failing) {
			t.Errorf("a count that failed: %v", err)
		}
		failing = nil
		told("day", 5)
	})
}
