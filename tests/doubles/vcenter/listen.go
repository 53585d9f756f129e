package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
)

// listen serves the API, behind the gate, and tells the VDDK stand-in where.
func (c *Center) listen(certificateFile string) error {
	certificate, leaf, err := newCertificate(certificateFile)
	if err != nil {
		return err
	}
	service := c.model.Service
	service.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	// The account named here is not asked: Sessions are.
	service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.User(c.config.Username)}
	c.model.Map().SessionManager().ValidLogin = c.sessions.Admit
	c.gate = newGate(http.HandlerFunc(service.ServeSDK), c.sessions)
	service.ServeMux = c.gate.Mux()
	address := service.NewServer().URL.Host
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	c.Ready = Ready{
		URL:        "https://" + address + vim25.Path,
		Thumbprint: soap.ThumbprintSHA1(leaf),
		CA:         certificateFile,
	}
	c.publishServer = func(password string) error {
		return c.registry.PublishServer(host, port, c.Ready.Thumbprint, c.config.Username, password)
	}
	return c.publishServer(c.config.Password)
}
