// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Event is what a record tells of.
type Event string

// The events, in the order in which a grant meets them.
const (
	// EventDenied: a request was refused, before its status says so.
	EventDenied Event = "denied"
	// EventIssuing: a back end is about to be asked for a credential, under the session that the record names.
	EventIssuing Event = "issuing"
	// EventIssueFailed: the back end did not issue it, or it is not known whether it did.
	EventIssueFailed Event = "issue_failed"
	// EventIssued: a credential was issued and is about to be stored.
	EventIssued Event = "issued"
	// EventDelivering: the Job is about to be started with it.
	EventDelivering Event = "delivering"
	// EventStopping: the grant is about to be ended, for the reason that the record names.
	EventStopping Event = "stopping"
	// EventRevoked: the credential was revoked, or the back end cannot do so and the record says until when it works.
	EventRevoked Event = "revoked"
	// EventEnded: the grant ended with the outcome that the record names.
	EventEnded Event = "ended"
	// EventRecovered: a line that was cut short by a crash, and that nobody had relied on, was removed from the end of the file.
	EventRecovered Event = "recovered"
)

// What Record.Approval reads.
const (
	ApprovalGranted     = "granted"
	ApprovalNotRequired = "not_required"
	ApprovalDenied      = "denied"
)

// OutcomeDenied is the outcome of a request that never was granted.
const OutcomeDenied = "denied"

// Record is one line. The article's fields come first; timestamp, writer, seq, prev and hash are the log's own to fill. task_id
// and actor are the agent's own words. There is no field that a credential could be put into.
type Record struct {
	Timestamp   string   `json:"timestamp"`
	TaskID      string   `json:"task_id"`
	Actor       string   `json:"actor"`
	Repo        string   `json:"repo"`
	Environment string   `json:"environment"`
	Capability  string   `json:"capability"`
	LeaseID     string   `json:"lease_id"`
	Provider    string   `json:"provider"`
	Scope       []string `json:"scope"`
	TTLSeconds  int32    `json:"ttl_seconds"`
	Approval    string   `json:"approval"`
	Outcome     string   `json:"outcome"`

	Event        Event    `json:"event"`
	Requester    string   `json:"requester"`
	Namespace    string   `json:"namespace"`
	Request      string   `json:"request"`
	Grant        string   `json:"grant,omitempty"`
	Job          string   `json:"job,omitempty"`
	Policy       string   `json:"policy,omitempty"`
	ApprovedBy   []string `json:"approved_by,omitempty"`
	Digest       string   `json:"digest,omitempty"`
	CredentialID string   `json:"credential_id,omitempty"`
	Session      string   `json:"session,omitempty"`
	Attempt      int32    `json:"attempt,omitempty"`
	Revocation   string   `json:"revocation,omitempty"`
	ExposedUntil string   `json:"exposed_until,omitempty"`
	Reason       string   `json:"reason,omitempty"`

	Writer string `json:"writer"`
	Seq    int64  `json:"seq"`
	Prev   string `json:"prev"`
	Hash   string `json:"hash,omitempty"`
}

// Outcome is a grant's outcome in the article's words. A credential that a second Pod started with was reused.
func Outcome(o v1alpha1.GrantOutcome, podsStarted int32) string {
	words := map[v1alpha1.GrantOutcome]string{
		v1alpha1.OutcomeCompleted: "completed", v1alpha1.OutcomeFailed: "failed", v1alpha1.OutcomeExpired: "expired",
		v1alpha1.OutcomeRevoked: "revoked", v1alpha1.OutcomeIssueFailed: "issue_failed",
	}
	word, known := words[o]
	switch {
	case !known:
		return "unknown"
	case podsStarted > 1:
		return word + "_reused"
	case o == v1alpha1.OutcomeRevoked || o == v1alpha1.OutcomeIssueFailed:
		return word
	default:
		return word + "_without_reuse"
	}
}

// origin is the prev of a chain's first record.
var origin = strings.Repeat("0", sha256.Size*2)

// seal fills in the hash and returns the line, without its end.
func (r *Record) seal() ([]byte, error) {
	r.Hash = ""
	bare, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bare)
	r.Hash = hex.EncodeToString(sum[:])
	return json.Marshal(r)
}
