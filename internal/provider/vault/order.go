// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// The fields of what Vault says of a lease and of a token that it knows. Source: handleLeaseLookup of
// https://github.com/hashicorp/vault/blob/main/vault/logical_system.go, and handleLookup of
// https://github.com/hashicorp/vault/blob/main/vault/token_store.go.
var (
	leaseFields = []string{"data/id", "data/issue_time", "data/expire_time", "data/last_renewal", "data/ttl", "data/renewable"}
	tokenFields = append([]string{"data/accessor", "data/policies", "data/path", "data/meta/*", "data/display_name",
		"data/num_uses", "data/orphan", "data/creation_time", "data/creation_ttl", "data/explicit_max_ttl", "data/entity_id",
		"data/type", "data/role", "data/period", "data/bound_cidrs", "data/namespace_path", "data/last_renewal_time",
		"data/identity_policies", "data/external_namespace_policies/*"}, leaseFields...)
)

// moreError stands for a success that holds more than Vault says where it ends something, or is asked whether it is
// there.
type moreError struct {
	// works is until when that works which it holds, and what was answered to its end.
	works provider.Works
}

func (*moreError) Error() string {
	return "Vault answered with something else than was asked for, or with more; see what stands between the operator and Vault"
}

// order has Vault end something, or asks whether it is there. A success holds nothing but those fields, and in texts no
// more than what was asked about: all else may be another answer of Vault's, and what it shows of a token is ended.
func (s *session) order(ctx context.Context, path string, about map[string]any, fields ...string) error {
	question, _ := json.Marshal(about) // strings can always be encoded
	body, err := bodyOf(s.client.Logical().WriteRawWithContext(ctx, path, question))
	if err != nil {
		return err
	}
	isText := func(text string) bool {
		return outbound.Plain(text) || text == about["lease_id"] || text == about["accessor"]
	}
	if !outbound.JSON.HoldsMore(body, isText, slices.Concat(fields, []string{"request_id", "warnings", "mount_type"})...) {
		return nil
	}
	answer, err := parseReply(body)
	if err != nil {
		return err
	}
	works := answer.works(s.now(), 0)
	if !s.last {
		works = works.And(s.endShown(ctx, answer))
	}
	return &moreError{works: works}
}
