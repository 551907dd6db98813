// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

/// @title OPEN, the token in which answers are paid
/// @notice Fixed supply, minted once to the treasury at deployment. Approvals can be signed (EIP-2612), so that a
/// relayer may deposit for a payer who holds no gas, and so can transfers (ERC-3009), as x402 clients do.
/// @dev There is no mint function; the cap states, on chain, what no successor may mint beyond.
contract OpenToken is ERC20Capped, ERC20Permit, ERC3009 {
    /// @param treasury receives the whole genesis supply
    /// @param supply genesis supply in atomic units (10**-18 OPEN)
    /// @param maximum cap in atomic units; `supply` above it reverts with ERC20ExceededCap. At most 2**128 - 1, so
    /// that every amount in the settlement contracts fits uint128.
    constructor(address treasury, uint256 supply, uint128 maximum)
        ERC20("OpenLedger", "OPEN")
        ERC20Permit("OpenLedger")
        ERC20Capped(maximum)
    {
        _mint(treasury, supply);
    }

    /// @dev Both bases override it; the cap's check must run.
    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        super._update(from, to, value);
    }
}
