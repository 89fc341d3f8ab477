package admission

import (
	"context"
	"errors"
	"time"

	"claude-code-api-service/internal/budget"
)

// Shares lends this node parts of the limits that all nodes of a database have
// together (docs/adr/0032). It is safe for concurrent use.
type Shares interface {
	// Exchange takes what a node gives back and lends what it asks for, all of it or,
	// with an error, perhaps: whoever asks again says the whole, so that nothing
	// counts twice. turn rises with each exchange of a node; one that comes late
	// changes nothing. nodes are those that live. Asks for no resource twice.
	Exchange(ctx context.Context, node string, turn int64, asks []Ask) (answers []Answer, nodes int, err error)
	// Recalls has fn called with what a node wants of which too little is free. fn
	// doesn't wait. Once stop has returned it isn't called any more.
	Recalls(fn func(node string, owner budget.Owner, resource string)) (stop func())
}

// Member says under which id this node is lent something.
type Member interface {
	// ID changes when the node was away for so long that the others took what it had.
	ID() string
	// Is says whether the node lives under that id for sure.
	Is(id string) bool
}

// The resources of an owner that aren't budgets.
const (
	sharedRequests   = "requests"
	sharedTokens     = "tokens"
	sharedConcurrent = "concurrent"
)

// maxShared is the largest limit of a rate that is shared: what is beyond it is nobody's.
const maxShared = 50_000_000_000

// Ask is what a node says of one resource.
type Ask struct {
	Owner budget.Owner
	// Resource is requests or tokens a minute, concurrent requests, or a budget, by
	// its period and unit: day-usd.
	Resource string
	// Of a budget: its period, the first moment of that, and what it counts.
	Period budget.Period
	Since  time.Time
	Unit   budget.Unit

	Limit int64 // of all nodes together
	// Given and GivenReady are all that the node has ever given back, and how much of
	// that could have been used at once (of a rate). Used is what the node has spent
	// of a budget, GrantedReady how much of a rate that it was lent could have been used at once,
	// by its own account: a lease that was closed goes on from there.
	Given, GivenReady, Used, GrantedReady int64
	// Want is what somebody waits for, Like what would be of use with it.
	Want, Like int64
	// Recall has the other nodes told if there is less.
	Recall bool
	// Close ends the lease: the node has nothing of it any more.
	Close bool
}

// Answer is what a node hears of one resource.
type Answer struct {
	// Granted and GrantedReady are all that the node was ever lent, and how much of
	// that could be used at once.
	Granted, GrantedReady int64
	Spent                 int64 // of a budget, by the ledger
	Others                int64 // what other nodes have
	Pool                  int64 // of a rate: what could be used at once and nobody has
}

// budgetResource names a budget.
func budgetResource(l budget.Limit) string { return string(l.Period) + "-" + string(l.Unit) }

// errFenced is why nothing is lent: the others may take this node for dead.
var errFenced = errors.New("this node isn't a member of the cluster for sure")
