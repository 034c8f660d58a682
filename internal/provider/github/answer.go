// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// answer is what GitHub says of a token, every field as it says it. go-github's own type drops what it does not know,
// and that may be what else the token is good for.
type answer map[string]json.RawMessage

// The fields of an answer that are known.
const (
	fieldToken        = "token"
	fieldExpires      = "expires_at"
	fieldPermissions  = "permissions"
	fieldRepositories = "repositories"
	fieldSelection    = "repository_selection"
)

// fileFields say which single files a token reaches, which only the permission single_file gives.
var fileFields = []string{"single_file", "single_file_paths", "has_multiple_single_files"}

// permissionFile is the permission to reach single files.
const permissionFile = "single_file"

// field reads a field; the zero value if it is not there or of another kind.
func field[T any](a answer, name string) T {
	var value, none T
	if json.Unmarshal(a[name], &value) != nil {
		return none
	}
	return value
}

func (a answer) token() string { return field[string](a, fieldToken) }

func (a answer) expires() time.Time { return field[time.Time](a, fieldExpires) }

// believable refuses an answer that is not exactly what was asked for.
func (a answer) believable(w wanted, now time.Time) *provider.Error {
	why := ""
	switch expires := a.expires(); {
	case a.token() == "" || !provider.Plain(a.token()) || strings.ContainsAny(a.token(), "@:/"):
		why = "no token that can be used"
	case !expires.After(now) || expires.After(now.Add(tokenTime+clockSkew)):
		why = "a token that does not expire within the hour, by the operator's clock"
	case !a.isOf(w.owner + "/" + w.repository):
		why = "a token for other repositories than was asked for " +
			"(one that was renamed or transferred is asked for by its new name)"
	case !a.permits(w.permissions):
		why = "a token with other permissions than were asked for"
	case !a.understood(w.permissions):
		why = "something about the token that this version of Valetkey does not know; upgrade it, or tell its authors"
	}
	if why == "" {
		return nil
	}
	return a.unused(why)
}

// unused says what is wrong with an answer, and until when what it holds works.
func (a answer) unused(why string) *provider.Error {
	return provider.Mismatched(provider.Final, a.works(), "GitHub answered with "+why+"; it is not used")
}

// isOf reports whether the token is for this one repository alone.
func (a answer) isOf(repository string) bool {
	all := field[[]answer](a, fieldRepositories)
	return field[string](a, fieldSelection) == "selected" && len(all) == 1 && strings.EqualFold(field[string](all[0], "full_name"), repository)
}

// permits reports whether the token has the permissions, all of them and no others. Every token can also read what a
// repository says of itself.
func (a answer) permits(asked map[string]string) bool {
	const metadata, read = "metadata", "read"
	got := field[map[string]string](a, fieldPermissions)
	if asked[metadata] == "" && got[metadata] == read {
		delete(got, metadata)
	}
	return maps.Equal(got, asked)
}

// understood reports whether every field is one that is known, and none names files that were not asked for.
func (a answer) understood(asked map[string]string) bool {
	for _, name := range fileFields {
		empty := slices.Contains([]string{"", "null", `""`, "[]", "false"}, string(a[name]))
		if !empty && asked[permissionFile] == "" {
			return false
		}
	}
	return !a.hasMore()
}

// hasMore reports whether the answer has fields that are not known: what they hold may be another token.
func (a answer) hasMore() bool {
	known := append([]string{fieldToken, fieldExpires, fieldPermissions, fieldRepositories, fieldSelection}, fileFields...)
	return slices.ContainsFunc(slices.Collect(maps.Keys(a)), func(name string) bool { return !slices.Contains(known, name) })
}

// works is until when works what the answer holds, as far as it says.
func (a answer) works() provider.Works {
	return provider.WorksUntil(a.expires()).And(provider.Works{Unknown: a.hasMore()})
}
