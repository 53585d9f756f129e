package main

import (
	"context"
	"sync"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Sessions are who may log in, and who is. vcsim keeps the sessions; this ends them and counts logins.
type Sessions struct {
	client *vim25.Client
	config *Config

	mu       sync.Mutex
	password string
	failed   int                  // logins since the start
	inARow   int                  // of them, since the last that succeeded
	seen     map[string]time.Time // last call of each session
}

func newSessions(config *Config, client *vim25.Client) *Sessions {
	return &Sessions{client: client, config: config, password: config.Password, seen: map[string]time.Time{}}
}

// Admit decides about a login. A locked account is refused like a wrong password.
func (s *Sessions) Admit(login *types.Login) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	locked := s.config.LockAfter > 0 && s.inARow >= s.config.LockAfter
	if locked || login.UserName != s.config.Username || login.Password != s.password {
		s.failed++
		s.inARow++
		return false
	}
	s.inARow = 0
	return true
}

// Full says whether no more sessions fit.
func (s *Sessions) Full() bool {
	return s.config.MaxSessions > 0 && len(s.Live()) >= s.config.MaxSessions
}

// Failed counts the logins that were refused.
func (s *Sessions) Failed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// SetPassword changes the account's; sessions go on. It unlocks the account.
func (s *Sessions) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password, s.inARow = password, 0
}

// Touch notes a call in a session, which ends first if it was idle for too long.
func (s *Sessions) Touch(key string) {
	if s.idle(key) {
		s.End(key)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[key] = time.Now()
}

// Live lists the sessions.
func (s *Sessions) Live() []string {
	var manager mo.SessionManager
	reference := *s.client.ServiceContent.SessionManager
	collector := property.DefaultCollector(s.client)
	err := collector.RetrieveOne(context.Background(), reference, []string{"sessionList"}, &manager)
	must("listing sessions", err)
	var live []string
	for _, session := range manager.SessionList {
		if s.idle(session.Key) {
			s.End(session.Key)
		} else {
			live = append(live, session.Key)
		}
	}
	return live
}

// End ends a session; one that is not there has ended.
func (s *Sessions) End(key string) {
	s.mu.Lock()
	delete(s.seen, key)
	s.mu.Unlock()
	_, _ = methods.TerminateSession(context.Background(), s.client, &types.TerminateSession{
		This: *s.client.ServiceContent.SessionManager, SessionId: []string{key},
	})
}

func (s *Sessions) idle(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.seen[key]
	return known && time.Since(last).Seconds() > s.config.SessionIdle
}
