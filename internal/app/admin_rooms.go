package app

import "claude-code-api-service/internal/adminapi"

// adminRooms are what a generation's endpoints of keys, money, tasks and the playground
// need.
func (a *App) adminRooms(n *generation) adminapi.Rooms {
	return adminapi.Rooms{
		Accounts: a.store, Ledger: a.store, Held: a.lasting.admitter.Held, Actions: AuditActions(), Tasks: a.desk, Gateway: n.gateway,
	}
}
