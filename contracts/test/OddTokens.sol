// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";

/// @dev A token with everything that other tokens do to those who trust them; each is switched on by the test.
contract OddToken is ERC20("Odd", "ODD") {
    error Blacklisted(address account);
    error Paused(uint256 until);

    uint256 public feeBps;
    bool public saysFalse;
    mapping(address account => bool) public blacklisted;
    bytes private _failure;
    bytes private _callback;
    address private _target;

    constructor(address holder, uint256 supply) {
        _mint(holder, supply);
    }

    function takeFee(uint256 bps) external {
        feeBps = bps;
    }

    function sayFalse(bool so) external {
        saysFalse = so;
    }

    /// Every transfer reverts with these bytes; with none it goes through.
    function failWith(bytes calldata failure) external {
        _failure = failure;
    }

    function blacklist(address account, bool so) external {
        blacklisted[account] = so;
    }

    /// Calls `target` in the middle of the next transfer.
    function callBack(address target, bytes calldata data) external {
        (_target, _callback) = (target, data);
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return !saysFalse && super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return !saysFalse && super.transferFrom(from, to, value);
    }

    /// Whose signature it is stays unasked, as what is tried here is what arrives.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        require(msg.sender == to, "for its receiver alone");
        _transfer(from, to, value);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (_failure.length != 0) _revert(_failure);
        if (blacklisted[to]) revert Blacklisted(to);
        uint256 fee = from == address(0) ? 0 : value * feeBps / 10_000;
        super._update(from, to, value - fee);
        if (fee != 0) super._update(from, address(0xFEE), fee);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        (bool done, bytes memory answer) = target.call(_callback);
        if (!done) _revert(answer);
    }

    function _revert(bytes memory failure) private pure {
        assembly ("memory-safe") {
            revert(add(failure, 32), mload(failure))
        }
    }
}
