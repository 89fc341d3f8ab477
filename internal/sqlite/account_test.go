package sqlite_test

import (
	"testing"

	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/storetest"
)

func TestAccounts(t *testing.T) {
	storetest.TestAccounts(t, func(t *testing.T) storetest.AccountStore { return open(t, sqlite.Options{}) })
}
