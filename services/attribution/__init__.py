"""Attribution: whose data shaped an answer, and how much.  Traces in, signed receipts out."""
