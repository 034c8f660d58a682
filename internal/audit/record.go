// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
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
	// EventAbandoned: somebody gave up on a revocation that the back end did not confirm, or on an end that nobody saw; the reason says
	// who, and why.
	EventAbandoned Event = "abandoned"
	// EventEndNotSeen: the grant's time is over, and no node has reported that its containers ended; the reason says which.
	EventEndNotSeen Event = "end_not_seen"
	// EventEnded: the grant ended with the outcome that the record names.
	EventEnded Event = "ended"
	// EventRecovered: something happened to the log itself, and reason says what: part of a line was removed after a crash, the
	// file was removed or replaced by somebody else, or nothing could be written for a time. No other field is set.
	EventRecovered Event = "recovered"
)

// What Record.Approval reads. The log's own records have none.
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
	// Timestamp is when the record was written, in UTC to the microsecond.
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
	// Outcome is empty while the grant lives.
	Outcome string `json:"outcome"`

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
	// Message is why, and who wanted it so, in at most MaxMessage bytes: of denied and stopping, what the request or the
	// grant says of it.
	Message string `json:"message,omitempty"`

	Writer string `json:"writer"`
	Seq    int64  `json:"seq"`
	Prev   string `json:"prev"`
	// Hash stays the last member: the line is cut before it to compute it.
	Hash string `json:"hash"`
}

// Outcome is a grant's outcome in the article's words; empty while the grant lives. A credential that a second Pod started with
// was reused.
func Outcome(o v1alpha1.GrantOutcome, podsStarted int32) string {
	word := "unknown"
	switch o {
	case "":
		return ""
	case v1alpha1.OutcomeCompleted:
		word = "completed"
	case v1alpha1.OutcomeFailed:
		word = "failed"
	case v1alpha1.OutcomeExpired:
		word = "expired"
	case v1alpha1.OutcomeRevoked:
		word = "revoked"
	case v1alpha1.OutcomeIssueFailed:
		word = "issue_failed"
	}
	switch {
	case podsStarted > 1:
		return word + "_reused"
	case o == v1alpha1.OutcomeCompleted || o == v1alpha1.OutcomeFailed || o == v1alpha1.OutcomeExpired:
		return word + "_without_reuse"
	default:
		return word
	}
}

// MaxMessage bounds Record.Message, in bytes: whoever may ask fills the log with it.
const MaxMessage = 500

// maxLine bounds a line, in bytes. The CRDs bound every field that goes into one, far below it.
const maxLine = 1 << 20

// What stands around the hash at the end of a line.
const (
	hashBefore = `,"hash":"`
	hashAfter  = `"}`
	hashTail   = len(hashBefore) + sha256.Size*2 + len(hashAfter)
)

// origin is the prev of a chain's first record.
const origin = "0000000000000000000000000000000000000000000000000000000000000000"

// seal puts the record behind the end of a chain. It returns the line, without its end, and the chain's new end.
func seal(r Record, end v1alpha1.AuditAnchor) ([]byte, v1alpha1.AuditAnchor, error) {
	r.Writer, r.Seq, r.Prev, r.Hash = end.Writer, end.Seq+1, end.Hash, ""
	if r.Scope == nil {
		r.Scope = []string{}
	}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, end, err
	}
	// The line is what people read, and what the hash is about: nothing in it may be invisible.
	line = visible.Text(line)
	body := bytes.TrimSuffix(line, []byte(hashBefore+hashAfter))
	hash := hashOf(body)
	line = append(body, hashBefore+hash+hashAfter...)
	if len(line) >= maxLine {
		return nil, end, fmt.Errorf("the record has %d bytes; a record has less than %d", len(line), maxLine)
	}
	return line, v1alpha1.AuditAnchor{Writer: r.Writer, Seq: r.Seq, Hash: hash}, nil
}

func hashOf(body []byte) string {
	h := sha256.New()
	h.Write(body)
	h.Write([]byte("}"))
	return hex.EncodeToString(h.Sum(nil))
}

// link is what makes a line part of a chain. Its other members are not looked at, so that a log can be verified by an operator
// that is older or younger than the one that wrote it; the hash covers them all.
type link struct {
	Timestamp string `json:"timestamp"`
	Writer    string `json:"writer"`
	Seq       int64  `json:"seq"`
	Prev      string `json:"prev"`
	Hash      string `json:"hash"`
}

func (l link) anchor() v1alpha1.AuditAnchor {
	return v1alpha1.AuditAnchor{Writer: l.Writer, Seq: l.Seq, Hash: l.Hash}
}

// unseal reads a line, without its end, and checks its hash.
func unseal(line []byte) (link, error) {
	var l link
	if err := json.Unmarshal(line, &l); err != nil || l.Writer == "" || l.Seq < 1 || len(line) < hashTail {
		return l, errors.New("the line is no audit record")
	}
	body, tail := line[:len(line)-hashTail], string(line[len(line)-hashTail:])
	if tail != hashBefore+hashOf(body)+hashAfter {
		return l, fmt.Errorf("record %d was changed: its hash is not that of its content", l.Seq)
	}
	return l, nil
}
