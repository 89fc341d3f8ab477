// Package dashboard serves the page at /dashboard, with all its files. The page is
// built from web/ and committed as built; all that it shows and does goes through
// adminapi.
package dashboard
