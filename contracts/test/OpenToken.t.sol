// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {Base} from "./Base.sol";

contract OpenTokenTest is Base {
    function test_genesisSupplyGoesToTheTreasury() public view {
        eq(token.balanceOf(TREASURY), SUPPLY);
        eq(token.totalSupply(), SUPPLY);
        eq(token.cap(), 10 * SUPPLY);
        eq(token.decimals(), 18);
    }

    function test_supplyAboveTheCapReverts() public {
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, 101, 100));
        new OpenToken(TREASURY, 101, 100);
    }

    function testFuzz_permitLetsTheSpenderTakeExactlyTheValue(uint256 key, uint128 value) public {
        key = 1 + key % (2 ** 128);
        value = value % SUPPLY;
        address owner = vm.addr(key);
        give(owner, value);
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                address(this),
                value,
                token.nonces(owner),
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
        token.permit(owner, address(this), value, block.timestamp, v, r, s);
        eq(token.allowance(owner, address(this)), value);
        token.transferFrom(owner, address(0xBEEF), value);
        eq(token.balanceOf(address(0xBEEF)), value);
    }
}
