package idempotency

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a allowances
		for n := range 128 {
			if !a.take("one", 8<<20) {
				t.Fatalf("the answer %d isn't kept", n)
			}
		}
		if a.take("one", largeAnswer) {
			t.Error("more than 1 GiB is kept")
		}
		if !a.take("one", largeAnswer-1) {
			t.Error("a small answer isn't kept")
		}
		if !a.take("another", 8<<20) {
			t.Error("one owner's answers count against another's")
		}
		time.Sleep(12 * time.Hour)
		for n := range 64 {
			if !a.take("one", 8<<20) {
				t.Fatalf("half a day later the answer %d isn't kept", n)
			}
		}
		if a.take("one", 8<<20) {
			t.Error("more was won back than half")
		}
		time.Sleep(TTL + time.Second)
		for n := range rememberOwners {
			a.take(strconv.Itoa(n), largeAnswer)
		}
		if len(a.whole) > rememberOwners {
			t.Errorf("%d owners are remembered", len(a.whole))
		}
	})
}

// UseUpAllowance takes all that an owner may have kept of large answers.
func (k *Keeper) UseUpAllowance(owner string) {
	for k.allowances.take(owner, largeAnswer) {
	}
}
