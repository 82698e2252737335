#!/usr/bin/env python3
"""A QUIC server that echoes, and a client that asks it something every few milliseconds on one stream.

    quic_echo.py server ADDRESS PORT
    quic_echo.py client ADDRESS PORT MILLISECONDS

The server answers "NUMBER" with "NUMBER CONNECTION ENDPOINT": how many connections there were when this one came, and the
endpoint that the question's last datagram came from. The client prints a line for each answer as it stands, until its
standard input ends; then it closes the connection. Both end after a minute.
"""

import asyncio
import datetime
import ssl
import sys
import tempfile

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROTOCOLS = ["echo"]
IDLE_TIMEOUT_S = 30.0
PATIENCE_S = 60.0


class Server(QuicConnectionProtocol):
    """One connection."""

    connections = 0

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        Server.connections += 1
        self.ordinal = Server.connections
        self.source = None
        self.rest = b""

    def datagram_received(self, data, addr):
        self.source = addr
        super().datagram_received(data, addr)

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            *lines, self.rest = (self.rest + event.data).split(b"\n")
            host, port = self.source[:2]
            for line in lines:
                answer = f"{line.decode()} {self.ordinal} {host}:{port}\n"
                self._quic.send_stream_data(event.stream_id, answer.encode())


def certificate(directory):
    """The configuration's arguments for a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    paths = [f"{directory}/certificate.pem", f"{directory}/key.pem"]
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for path, text in zip(paths, [made.sign(key, hashes.SHA256()).public_bytes(pem), secret]):
        with open(path, "wb") as file:
            file.write(text)
    return paths


async def server(address, port):
    configuration = QuicConfiguration(alpn_protocols=PROTOCOLS, is_client=False, idle_timeout=IDLE_TIMEOUT_S)
    with tempfile.TemporaryDirectory() as directory:
        configuration.load_cert_chain(*certificate(directory))
    await serve(address, int(port), configuration=configuration, create_protocol=Server)
    print("serving", flush=True)
    await asyncio.Future()


async def print_answers(reader):
    while line := await reader.readline():
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


async def client(address, port, milliseconds):
    configuration = QuicConfiguration(alpn_protocols=PROTOCOLS, is_client=True, idle_timeout=IDLE_TIMEOUT_S)
    configuration.verify_mode = ssl.CERT_NONE
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with connect(address, int(port), configuration=configuration) as connection:
        reader, writer = await connection.create_stream()
        printing = asyncio.create_task(print_answers(reader))
        number = 0
        while not ended.done():
            number += 1
            writer.write(f"{number}\n".encode())
            await asyncio.sleep(int(milliseconds) / 1000)
        printing.cancel()


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for({"server": server, "client": client}[sys.argv[1]](*sys.argv[2:]), PATIENCE_S))
