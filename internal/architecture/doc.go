// Package architecture holds the test that keeps the rooms apart: which package
// may import which, of this module and of others. The table is in the test;
// docs/architecture.md explains it, and docs/adr/0001 says how it is changed.
package architecture
