// Package budget is what the rooms around budgets have in common: whose they
// are, for which period, and what was spent.
package budget

import "time"

// Period is a calendar period in a project's time zone.
type Period string

// The periods. A week begins on Monday (ISO 8601); Total has no end.
const (
	Day   Period = "day"
	Week  Period = "week"
	Month Period = "month"
	Total Period = "total"
)

// Periods are all there are, the shortest first.
var Periods = [...]Period{Day, Week, Month, Total}

// Known says whether there is such a period.
func (p Period) Known() bool { return p == Day || p == Week || p == Month || p == Total }

// Start gives the first moment of the period that holds t, in t's time zone. That
// of Total, and of a period that doesn't exist, is 1970.
func (p Period) Start(t time.Time) time.Time {
	year, month, day := t.Date()
	switch p {
	case Day:
	case Week:
		day -= (int(t.Weekday()) + 6) % 7 // days since Monday
	case Month:
		day = 1
	default:
		return time.Unix(0, 0).UTC()
	}
	return midnight(year, month, day, t.Location())
}

// midnight gives the first moment of a day. Where the clocks are put forward at
// midnight there is no 00:00, and time.Date may give 23:00 of the day before.
func midnight(year int, month time.Month, day int, zone *time.Location) time.Time {
	start := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if start.Hour() >= 12 {
		_, start = start.ZoneBounds()
	}
	return start
}

// End gives the first moment behind the period that holds t; false for a period
// without an end.
func (p Period) End(t time.Time) (time.Time, bool) {
	year, month, day := p.Start(t).Date()
	switch p {
	case Day:
		day++
	case Week:
		day += 7
	case Month:
		month++
	default:
		return time.Time{}, false
	}
	return midnight(year, month, day, t.Location()), true
}

// Kind is who may have a budget.
type Kind string

// The kinds of Owner.
const (
	Key     Kind = "key"
	Project Kind = "project"
	// Run is one agentic run, for the most that it may cost. Its budget is nowhere
	// but in memory.
	Run Kind = "run"
)

// RunParam is the field of a request that sets the budget of a Run: a refusal by that
// names it.
const RunParam = "max_cost"

// Owner is one key, one project, or one run.
type Owner struct {
	Kind Kind
	ID   string
}

// Unit is what a budget counts.
type Unit string

// The units. Tokens are those of input and output, without what was read from or
// written to a cache; USD is counted in millionths of a dollar.
const (
	Tokens Unit = "tokens"
	USD    Unit = "usd"
)

// Limit is one budget.
type Limit struct {
	Owner  Owner
	Period Period
	Unit   Unit
	// Hard is never passed; Soft is told about when it is passed. In tokens or in
	// millionths of a US dollar; 0: none.
	Hard, Soft int64
}

// Amount is what a request costs, or several together.
type Amount struct {
	Tokens   int64
	MicroUSD int64 // millionths of a US dollar
}

// Add gives the sum of both.
func (a Amount) Add(b Amount) Amount {
	return Amount{a.Tokens + b.Tokens, a.MicroUSD + b.MicroUSD}
}

// In gives the amount in a budget's unit.
func (a Amount) In(u Unit) int64 {
	if u == USD {
		return a.MicroUSD
	}
	return a.Tokens
}

// Percent gives so much of n, rounded down, but at least 1 of what isn't nothing: 0 is no
// limit.
func Percent(n int64, percent int) int64 {
	if n <= 0 || percent == 0 {
		return 0
	}
	p := int64(percent)
	return max(1, n/100*p+n%100*p/100)
}
