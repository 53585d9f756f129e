package main

func (c *Center) expireSessions(none) (any, error) {
	live := c.sessions.Live()
	for _, key := range live {
		c.sessions.End(key)
	}
	return len(live), nil
}

func (c *Center) countSessions(none) (any, error) {
	return len(c.sessions.Live()), nil
}

func (c *Center) failedLogins(none) (any, error) {
	return c.sessions.Failed(), nil
}

type passwordArguments struct {
	Password string `json:"password"`
}

func (c *Center) setPassword(a passwordArguments) (any, error) {
	c.sessions.SetPassword(a.Password)
	return nil, c.publishServer(a.Password)
}

func (c *Center) calls(none) (any, error) {
	return c.gate.Calls(), nil
}

func (c *Center) resetCalls(none) (any, error) {
	c.gate.ResetCalls()
	return nil, nil
}

type callArguments struct {
	Method  string  `json:"method"`
	Seconds float64 `json:"seconds"`
	Kind    string  `json:"kind"`
	Times   int     `json:"times"`
}

func (c *Center) delay(a callArguments) (any, error) {
	c.gate.Delay(a.Method, a.Seconds)
	return nil, nil
}

func (c *Center) fault(a callArguments) (any, error) {
	return nil, c.gate.Fail(a.Method, a.Kind, a.Times)
}

func (c *Center) freezeServer(a callArguments) (any, error) {
	c.gate.Freeze(a.Seconds)
	return nil, nil
}
