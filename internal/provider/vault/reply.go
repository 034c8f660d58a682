// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/internal/provider"
)

// reply is an answer of Vault's: to a login, to the making of a token, or to a question for a secret.
type reply struct {
	*api.Secret
	// token is what it says of a token; nil if it says nothing of one.
	token *made
	// more reports whether it says something that is not known: that may be what else a token is good for, or another.
	more bool
}

// replyFields are the members of Vault's answers. Source:
// https://github.com/hashicorp/vault/blob/main/sdk/logical/translate_response.go, HTTPResponse.
var replyFields = []string{"request_id", "lease_id", "lease_duration", "renewable", "data", "warnings", "auth", "wrap_info", "mount_type"}

var (
	// errEmpty stands for an answer that is no success, no error, and nothing else.
	errEmpty = errors.New("nothing was answered")
	// errUnread stands for a success that holds nothing, or nothing that can be read.
	errUnread = errors.New("what was answered is not known")
)

// read reads an answer. Vault's client drops what it does not know, takes an empty answer, and one that nothing is at
// the path, for the same, and takes an error with a warning for a secret.
func read(raw *api.Response, failure error) (*reply, error) {
	body, err := bodyOf(raw, failure)
	if err != nil {
		return nil, err
	}
	return parseReply(body)
}

// bodyOf is what was answered with success.
func bodyOf(raw *api.Response, failure error) ([]byte, error) {
	if raw != nil {
		defer func() { _ = raw.Body.Close() }()
	}
	switch {
	case failure != nil:
		return nil, failure
	case raw.StatusCode >= http.StatusMultipleChoices:
		return nil, errEmpty
	}
	return io.ReadAll(raw.Body)
}

func parseReply(body []byte) (*reply, error) {
	secret, err := api.ParseSecret(bytes.NewReader(body))
	members := map[string]json.RawMessage{}
	if err != nil || secret == nil || json.Unmarshal(body, &members) != nil {
		return nil, errUnread
	}
	answer := &reply{Secret: secret}
	for name := range members {
		answer.more = answer.more || !slices.Contains(replyFields, name)
	}
	if auth := members["auth"]; secret.Auth != nil {
		answer.token = &made{}
		_ = json.Unmarshal(auth, answer.token) // as far as it is known
		strict := json.NewDecoder(bytes.NewReader(auth))
		strict.DisallowUnknownFields()
		answer.more = answer.more || strict.Decode(&made{}) != nil
	}
	return answer, nil
}

// leases reports whether an answer has something that was leased, or read.
func (r *reply) leases() bool { return r.LeaseID != "" || r.LeaseDuration != 0 || len(r.Data) > 0 }

// works is until when all works that an answer holds, as far as it says. Vault was asked at an instant, and was so slow
// to answer.
func (r *reply) works(asked time.Time, slow time.Duration) provider.Works {
	all := provider.Works{Unknown: r.more || r.WrapInfo != nil}
	if r.token != nil {
		lifetime, _ := provider.Seconds(r.token.LeaseDuration)
		all = all.And(lasts(asked, lifetime, slow)).And(provider.Works{Unknown: r.token.Renewable})
	}
	if r.leases() {
		lifetime, _ := provider.Seconds(int64(r.LeaseDuration))
		longest, err := (&secret{lifetime: lifetime, data: r.Data}).works(asked)
		all = all.And(lasts(asked, longest, slow)).And(provider.Works{Unknown: err != nil})
	}
	all.Unknown = all.Unknown || all.Until.IsZero()
	return all
}
